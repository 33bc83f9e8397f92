// A streaming client's bytes: whole, and cut in two ways, they give the same events and the same
// answers; and what a server that echoes says is always made of well-formed frames.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "cri/streaming/spdy.h"
#include "cri/streaming/testing_spdy_client.h"

namespace {

using gantry::cri::streaming::SpdyEvent;
using gantry::cri::streaming::SpdySession;
using gantry::cri::streaming::TestFrame;
using gantry::cri::streaming::TestSpdyClient;

// What has happened, in a form that does not tell where data was cut.
class Record {
 public:
  void Add(absl::string_view what, uint32_t stream, absl::string_view more) {
    absl::StrAppend(&text_, "\n", what, " ", stream, " ", more);
    data_stream_ = 0;
  }
  void AddData(uint32_t stream, absl::string_view bytes) {
    if (data_stream_ != stream) Add("data", stream, "");
    data_stream_ = stream;
    absl::StrAppend(&text_, bytes);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  uint32_t data_stream_ = 0;  // that data can be joined to
};

void Echo(const SpdyEvent& event, SpdySession* session, Record* record) {
  switch (event.kind) {
    case SpdyEvent::Kind::kStream:
      record->Add("stream", event.stream, "");
      for (const auto& [name, value] : event.headers) record->Add(name, event.stream, value);
      session->Reply(event.stream);
      break;
    case SpdyEvent::Kind::kData:
      if (event.data.empty()) __builtin_trap();
      record->AddData(event.stream, event.data);
      session->Data(event.stream, event.data);
      break;
    case SpdyEvent::Kind::kFin:
      record->Add("fin", event.stream, "");
      session->Fin(event.stream);
      break;
    case SpdyEvent::Kind::kReset:
      record->Add("reset", event.stream, absl::StrCat(event.code));
      break;
    case SpdyEvent::Kind::kGoAway:
      record->Add("goaway", 0, "");
      break;
  }
}

void AddAnswers(std::string output, Record* record) {
  TestSpdyClient client;
  const auto frames = client.Read(output);
  if (!frames) __builtin_trap();
  for (const TestFrame& frame : *frames) {
    if (!frame.control && frame.flags == 0) {
      record->AddData(frame.stream, frame.payload);
    } else {
      record->Add(absl::StrCat("says ", frame.type), frame.stream, frame.payload);
    }
  }
}

std::string Story(absl::string_view bytes, size_t piece) {
  SpdySession session;
  Record record;
  bool going = true;
  for (size_t at = 0; going && at < bytes.size(); at += piece) {
    session.Receive(bytes.substr(at, piece));
    while (true) {
      const auto event = session.Next();
      if (!event.ok()) record.Add("broken", 0, event.status().message());
      going = event.ok();
      if (!going || !event->has_value()) break;
      Echo(**event, &session, &record);
    }
  }
  session.GoAway();
  AddAnswers(session.TakeOutput(), &record);
  return record.text();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string whole = Story(bytes, std::max<size_t>(size, 1));
  if (whole != Story(bytes, 1) || whole != Story(bytes, 13)) __builtin_trap();
  return 0;
}
