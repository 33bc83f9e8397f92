// Messages of the WebSocket protocols, after Beast has taken the frames apart: in one piece and cut
// anywhere they say the same to the same channel; what we write is read back as it was. Sizes on
// the resize channel do not depend on the cut either, and are never zero.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

#include "cri/streaming/channel_messages.h"
#include "cri/streaming/terminal_size.h"

namespace {

namespace streaming = gantry::cri::streaming;

void Require(bool holds) {
  if (!holds) __builtin_trap();
}

struct Said {
  int channel = -1;
  std::string data;
  bool operator==(const Said& other) const {
    return channel == other.channel && data == other.data;
  }
};

Said Read(absl::string_view message, size_t piece, bool base64) {
  streaming::ChannelMessageReader reader(base64);
  Said said;
  size_t at = 0;
  do {
    const absl::string_view part = message.substr(at, piece);
    const auto taken = reader.Receive(part, at == 0, at + part.size() == message.size());
    if (taken.has_value()) {
      Require(said.channel == -1 || said.channel == taken->channel);
      said.channel = taken->channel;
      said.data += taken->data;
    }
    at += part.size();
  } while (at < message.size());
  return said;
}

void CheckSizes(absl::string_view bytes, size_t piece) {
  streaming::TerminalSizeReader reader;
  for (size_t at = 0; at < bytes.size(); at += piece)
    if (const auto size = reader.Receive(bytes.substr(at, piece)))
      Require(size->width > 0 && size->height > 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const bool base64 = (data[0] & 1) != 0;
  const size_t piece = 1 + data[1] % 7;
  const absl::string_view message(reinterpret_cast<const char*>(data) + 2, size - 2);
  const Said whole = Read(message, std::max<size_t>(message.size(), 1), base64);
  // Text that is no base64 ends a message, so where it was cut tells how much came before.
  if (!base64) Require(whole == Read(message, piece, base64));
  Read(message, piece, base64);
  const std::string written = streaming::EncodeChannelMessage(3, message, base64);
  for (const size_t cut : {written.size(), piece}) {
    const Said back = Read(written, cut, base64);
    Require(message.empty() || (back.channel == 3 && back.data == message));
  }
  CheckSizes(message, piece);
  return 0;
}
