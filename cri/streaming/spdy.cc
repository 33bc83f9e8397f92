#include "cri/streaming/spdy.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace gantry::cri::streaming {
namespace {

constexpr size_t kFrameHead = 8;
constexpr uint16_t kVersion = 3;  // 3.1 differs from 3 in windows only, and says 3 too
constexpr uint8_t kFlagFin = 1;
constexpr uint8_t kFlagUnidirectional = 2;
constexpr uint32_t kIdMask = 0x7fffffff;

enum FrameType : uint16_t {
  kSynStream = 1,
  kSynReply = 2,
  kRstStream = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
  kHeaders = 8,
  kWindowUpdate = 9,
};

// A number of `size` bytes at the front of `bytes`, which has them.
uint32_t Number(absl::string_view bytes, size_t size) {
  uint32_t number = 0;
  for (const char byte : bytes.substr(0, size)) number = number << 8 | static_cast<uint8_t>(byte);
  return number;
}

void AppendNumber(uint32_t number, size_t size, std::string* out) {
  for (size_t i = size; i-- > 0;) out->push_back(static_cast<char>(number >> (8 * i) & 0xff));
}

Status Malformed(absl::string_view frame, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("SPDY: ", frame, " ", what));
}

// The length of a frame whose payload is of one size.
Status WantSize(absl::string_view frame, absl::string_view payload, size_t size) {
  if (payload.size() == size) return absl::OkStatus();
  return Malformed(frame, absl::StrCat("of ", payload.size(), " bytes, not ", size));
}

Status WantAtLeast(absl::string_view frame, absl::string_view payload, size_t size) {
  if (payload.size() >= size) return absl::OkStatus();
  return Malformed(frame, absl::StrCat("of ", payload.size(), " bytes, fewer than ", size));
}

Status CheckSettings(absl::string_view payload) {
  RETURN_IF_ERROR(WantAtLeast("SETTINGS", payload, 4));
  const uint64_t entries = Number(payload, 4);
  if (4 + 8 * entries == payload.size()) return absl::OkStatus();
  return Malformed("SETTINGS",
                   absl::StrCat("of ", payload.size(), " bytes says it has ", entries, " entries"));
}

// Section 2.6.10: names are not empty, lower case, and each is there once. A header of several
// values is a run of one name.
bool NamesAreFit(const SpdyHeaders& headers) {
  absl::flat_hash_set<absl::string_view> seen;
  absl::string_view last;
  for (const auto& [name, value] : headers) {
    if (name.empty() || std::any_of(name.begin(), name.end(), absl::ascii_isupper)) return false;
    if (name != last && !seen.insert(name).second) return false;
    last = name;
  }
  return true;
}

}  // namespace

void SpdySession::Receive(absl::string_view bytes) {
  if (read_ > 0) input_.erase(0, std::exchange(read_, 0));
  input_.append(bytes.data(), bytes.size());
}

StatusOr<std::optional<SpdyEvent>> SpdySession::Next() {
  if (!broken_.ok()) return broken_;
  Event event = Parse();
  if (!event.ok()) broken_ = event.status();
  return event;
}

SpdySession::Event SpdySession::Parse() {
  while (true) {
    if (fin_of_ != 0) {
      if (auto event = PeerFinished(std::exchange(fin_of_, 0))) return event;
    }
    if (in_data_) {
      if (auto event = DataPiece()) return event;
      if (in_data_) return std::nullopt;
      continue;
    }
    ASSIGN_OR_RETURN(const absl::string_view frame, TakeFrame());
    if (frame.empty()) {
      if (!in_data_) return std::nullopt;
      continue;
    }
    ASSIGN_OR_RETURN(auto event, Control(frame));
    if (event) return event;
  }
}

// A whole control frame, or the head of a DATA frame (in_data_ is set then, and the result empty).
// Empty without in_data_: more bytes are needed.
StatusOr<absl::string_view> SpdySession::TakeFrame() {
  const absl::string_view rest = absl::string_view(input_).substr(read_);
  if (rest.size() < kFrameHead) return absl::string_view();
  const uint32_t first = Number(rest, 4);
  const size_t length = Number(rest.substr(5), 3);
  if (first <= kIdMask) {
    read_ += kFrameHead;
    in_data_ = true;
    data_stream_ = first;
    data_left_ = length;
    data_fin_ = (static_cast<uint8_t>(rest[4]) & kFlagFin) != 0;
    return absl::string_view();
  }
  if (const uint32_t version = first >> 16 & 0x7fff; version != kVersion) {
    return Malformed("control frame", absl::StrCat("of version ", version));
  }
  if (length > kSpdyMaxControlPayload) {
    return Malformed("control frame",
                     absl::StrCat("of ", length, " bytes, more than ", kSpdyMaxControlPayload));
  }
  if (rest.size() < kFrameHead + length) return absl::string_view();
  read_ += kFrameHead + length;
  return rest.substr(0, kFrameHead + length);
}

// What has arrived of the DATA frame. Nothing of a stream that is not known is given out: the peer
// may not have heard yet that we have reset it.
std::optional<SpdyEvent> SpdySession::DataPiece() {
  const size_t size = std::min(data_left_, unread());
  const absl::string_view piece = absl::string_view(input_).substr(read_, size);
  read_ += size;
  data_left_ -= size;
  if (data_left_ == 0) {
    in_data_ = false;
    if (data_fin_) fin_of_ = data_stream_;
  }
  const auto found = streams_.find(data_stream_);
  if (size == 0 || found == streams_.end() || found->second.peer_finished) return std::nullopt;
  SpdyEvent event;
  event.stream = data_stream_;
  event.data = piece;
  return event;
}

std::optional<SpdyEvent> SpdySession::PeerFinished(uint32_t stream) {
  const auto found = streams_.find(stream);
  if (found == streams_.end() || found->second.peer_finished) return std::nullopt;
  found->second.peer_finished = true;
  if (found->second.finished) streams_.erase(found);
  SpdyEvent event;
  event.kind = SpdyEvent::Kind::kFin;
  event.stream = stream;
  return event;
}

SpdySession::Event SpdySession::Control(absl::string_view frame) {
  const uint32_t type = Number(frame.substr(2), 2);
  const auto flags = static_cast<uint8_t>(frame[4]);
  const absl::string_view payload = frame.substr(kFrameHead);
  switch (type) {
    case kSynStream:
      return SynStream(flags, payload);
    case kSynReply:
      return HeadersOf("SYN_REPLY", flags, payload);
    case kHeaders:
      return HeadersOf("HEADERS", flags, payload);
    case kRstStream:
      return RstStream(payload);
    case kSettings:
      RETURN_IF_ERROR(CheckSettings(payload));
      return std::nullopt;
    case kPing:
      RETURN_IF_ERROR(WantSize("PING", payload, 4));
      Ping(payload);
      return std::nullopt;
    case kGoAway: {
      RETURN_IF_ERROR(WantSize("GOAWAY", payload, 8));
      SpdyEvent event;
      event.kind = SpdyEvent::Kind::kGoAway;
      return event;
    }
    case kWindowUpdate:
      RETURN_IF_ERROR(WantSize("WINDOW_UPDATE", payload, 8));
      return std::nullopt;
    default:
      return Malformed("control frame", absl::StrCat("of unknown type ", type));
  }
}

SpdySession::Event SpdySession::SynStream(uint8_t flags, absl::string_view payload) {
  constexpr size_t kFixed = 10;  // id, associated id, priority, slot
  RETURN_IF_ERROR(WantAtLeast("SYN_STREAM", payload, kFixed));
  const uint32_t id = Number(payload, 4) & kIdMask;
  SpdyEvent event;
  event.kind = SpdyEvent::Kind::kStream;
  event.stream = id;
  ASSIGN_OR_RETURN_CONTEXT(event.headers, header_reader_.Read(payload.substr(kFixed)),
                           absl::StrCat("SPDY: SYN_STREAM ", id));
  const bool odd = id % 2 == 1;
  const bool rises = id > last_id_;
  if (odd && rises) last_id_ = id;
  if (!odd || !rises || !NamesAreFit(event.headers)) return Reject(id);
  streams_.emplace(id, Stream{});
  // A stream without our direction has no use in any of Kubernetes' protocols.
  if (streams_.size() > kSpdyMaxOpenStreams || (flags & kFlagUnidirectional) != 0) {
    Reset(id, kSpdyRefusedStream);
    return std::nullopt;
  }
  if ((flags & kFlagFin) != 0) fin_of_ = id;
  return event;
}

// Section 2.3.2. An id that is in use is that stream's error: the peer takes the reset for it, so
// both sides have to forget it.
std::optional<SpdyEvent> SpdySession::Reject(uint32_t stream) {
  const bool was_known = streams_.erase(stream) > 0;
  WriteReset(stream, kSpdyProtocolError);
  if (!was_known) return std::nullopt;
  SpdyEvent event;
  event.kind = SpdyEvent::Kind::kReset;
  event.stream = stream;
  event.code = kSpdyProtocolError;
  return event;
}

// SYN_REPLY and HEADERS: nothing in them is of use, but the header compression goes through them.
SpdySession::Event SpdySession::HeadersOf(absl::string_view frame, uint8_t flags,
                                          absl::string_view payload) {
  RETURN_IF_ERROR(WantAtLeast(frame, payload, 4));
  ASSIGN_OR_RETURN_CONTEXT(const SpdyHeaders ignored, header_reader_.Read(payload.substr(4)),
                           absl::StrCat("SPDY: ", frame));
  if ((flags & kFlagFin) != 0) fin_of_ = Number(payload, 4) & kIdMask;
  return std::nullopt;
}

SpdySession::Event SpdySession::RstStream(absl::string_view payload) {
  RETURN_IF_ERROR(WantSize("RST_STREAM", payload, 8));
  SpdyEvent event;
  event.kind = SpdyEvent::Kind::kReset;
  event.stream = Number(payload, 4) & kIdMask;
  event.code = Number(payload.substr(4), 4);
  if (streams_.erase(event.stream) == 0) return std::nullopt;
  return event;
}

// Section 2.6.5: a client's ids are odd. An even one would answer a ping of ours; we send none.
void SpdySession::Ping(absl::string_view payload) {
  if (Number(payload, 4) % 2 == 1) WriteControl(kPing, payload);
}

SpdySession::Stream* SpdySession::Writable(uint32_t stream) {
  const auto found = streams_.find(stream);
  if (gone_away_ || found == streams_.end() || found->second.finished) return nullptr;
  return &found->second;
}

void SpdySession::Reply(uint32_t stream) {
  Stream* const state = Writable(stream);
  if (state == nullptr || state->replied) return;
  state->replied = true;
  std::string body;
  AppendNumber(stream, 4, &body);
  absl::StrAppend(&body, replied_ ? NextEmptyHeaderBlock() : FirstEmptyHeaderBlock());
  replied_ = true;
  WriteControl(kSynReply, body);
}

void SpdySession::Data(uint32_t stream, absl::string_view bytes) {
  if (bytes.empty() || Writable(stream) == nullptr) return;
  Reply(stream);
  for (; !bytes.empty(); bytes.remove_prefix(std::min(bytes.size(), kSpdyMaxDataFrame))) {
    WriteData(stream, 0, bytes.substr(0, kSpdyMaxDataFrame));
  }
}

void SpdySession::Fin(uint32_t stream) {
  Stream* const state = Writable(stream);
  if (state == nullptr) return;
  Reply(stream);
  WriteData(stream, kFlagFin, {});
  state->finished = true;
  if (state->peer_finished) streams_.erase(stream);
}

void SpdySession::Reset(uint32_t stream, uint32_t code) {
  if (!gone_away_ && streams_.erase(stream) > 0) WriteReset(stream, code);
}

void SpdySession::WriteReset(uint32_t stream, uint32_t code) {
  std::string body;
  AppendNumber(stream, 4, &body);
  AppendNumber(code, 4, &body);
  WriteControl(kRstStream, body);
}

void SpdySession::GoAway() {
  std::string body;
  AppendNumber(last_id_, 4, &body);
  AppendNumber(0, 4, &body);  // OK
  WriteControl(kGoAway, body);
  gone_away_ = true;
}

std::string SpdySession::TakeOutput() { return std::exchange(output_, {}); }

// Everything we say passes through here or WriteData, and nothing comes behind GOAWAY.
void SpdySession::WriteControl(uint16_t type, absl::string_view payload) {
  if (gone_away_) return;
  AppendNumber(0x80000000U | uint32_t{kVersion} << 16 | type, 4, &output_);
  AppendNumber(static_cast<uint32_t>(payload.size()), 4, &output_);  // no flags
  absl::StrAppend(&output_, payload);
}

void SpdySession::WriteData(uint32_t stream, uint8_t flags, absl::string_view bytes) {
  AppendNumber(stream, 4, &output_);
  AppendNumber(uint32_t{flags} << 24 | static_cast<uint32_t>(bytes.size()), 4, &output_);
  output_.append(bytes.data(), bytes.size());
}

}  // namespace gantry::cri::streaming
