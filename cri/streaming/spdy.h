// SPDY/3.1 as Kubernetes' streaming clients speak it, the server's side: bytes in, events and bytes
// out. No I/O, no threads, no clock, so that the same machine serves a socket and a tunnel.
//
// Source: draft-mbelshe-httpbis-spdy-00, and what the clients' library (moby/spdystream) does:
//  - it never sends nor obeys windows: back-pressure is that of the socket below;
//  - what it has not opened it does not know: we open no streams;
//  - it drops DATA before SYN_REPLY, and stops reading at GOAWAY.
// Frames:
//
//   control  1 version(15) │ type(16) │ flags(8) length(24) │ payload …     numbers are big-endian
//   data     0 stream(31)             │ flags(8) length(24) │ bytes …
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

#include "cri/streaming/spdy_headers.h"
#include "runtime/base/status.h"

namespace gantry::cri::streaming {

inline constexpr size_t kSpdyMaxControlPayload = size_t{16} << 10;
inline constexpr size_t kSpdyMaxDataFrame = (size_t{1} << 24) - 1;
inline constexpr size_t kSpdyMaxOpenStreams = 4096;

// The codes of RST_STREAM that have a use here. 0 is not one: the clients' library takes it for a
// malformed frame.
inline constexpr uint32_t kSpdyProtocolError = 1;
inline constexpr uint32_t kSpdyRefusedStream = 3;
inline constexpr uint32_t kSpdyCancel = 5;

struct SpdyEvent {
  enum class Kind {
    kStream,  // the peer has opened a stream: Reply or Reset it
    kData,    // a piece of a DATA frame, never empty
    kFin,     // the peer has said all on this stream; ours of its directions stays open
    kReset,   // the peer has dropped both directions: the stream is forgotten
    kGoAway,  // the peer opens no more streams; those that are open go on
  };
  Kind kind = Kind::kData;
  uint32_t stream = 0;
  SpdyHeaders headers;     // kStream; names are lower case and there once (values may be several)
  absl::string_view data;  // kData: valid until the next call of Next or Receive
  uint32_t code = 0;       // kReset
};

// One connection. A stream is known from its kStream until both sides have finished it or either
// has reset it. Not thread-safe.
class SpdySession {
 public:
  // Appends what the peer has sent. Nothing is read of it before Next: how much may wait here is
  // the caller's to bound, by unread().
  void Receive(absl::string_view bytes);

  // The next event (FIN flags of SYN_STREAM and DATA come as kFin of their own, after the rest);
  // nullopt: more bytes are needed. The caller may leave events where they are: that is the
  // back-pressure. What needs no decision is answered here: PING is echoed, SYN_STREAM with a wrong
  // id or malformed names is reset (PROTOCOL_ERROR), as is one over kSpdyMaxOpenStreams
  // (REFUSED_STREAM). Such answers are never longer than what asked for them; a caller whose peer
  // does not read must not go on calling while much is unsent().
  // kInvalidArgument with the reason: the connection has to be closed; every later call says so
  // too. kResourceExhausted: no memory for zlib, likewise.
  StatusOr<std::optional<SpdyEvent>> Next();

  // Bytes received and not yet given out, with those of a frame that is not complete: up to 8 bytes
  // and kSpdyMaxControlPayload of them can stay although Next gives nothing.
  [[nodiscard]] size_t unread() const { return input_.size() - read_; }

  // What the server says; each appends to the output. On a stream that is not known (the peer may
  // just have reset it), or that Fin has ended, they do nothing; after GoAway all do nothing.
  void Reply(uint32_t stream);  // SYN_REPLY, before any data on it: Data and Fin see to that
  void Data(uint32_t stream, absl::string_view bytes);
  void Fin(uint32_t stream);                   // empty DATA with FIN
  void Reset(uint32_t stream, uint32_t code);  // RST_STREAM; the stream is forgotten
  void GoAway();                               // strictly last; Next goes on for what still comes

  [[nodiscard]] bool known(uint32_t stream) const { return streams_.contains(stream); }
  [[nodiscard]] size_t unsent() const { return output_.size(); }
  // All that is unsent; it is then the caller's to send, in this order.
  std::string TakeOutput();

 private:
  struct Stream {
    bool replied = false;
    bool finished = false;       // by us
    bool peer_finished = false;  // and told of
  };
  using Event = StatusOr<std::optional<SpdyEvent>>;

  Event Parse();
  std::optional<SpdyEvent> DataPiece();
  std::optional<SpdyEvent> PeerFinished(uint32_t stream);
  StatusOr<absl::string_view> TakeFrame();
  Event Control(absl::string_view frame);
  Event SynStream(uint8_t flags, absl::string_view payload);
  std::optional<SpdyEvent> Reject(uint32_t stream);
  Event HeadersOf(absl::string_view frame, uint8_t flags, absl::string_view payload);
  Event RstStream(absl::string_view payload);
  void Ping(absl::string_view payload);
  Stream* Writable(uint32_t stream);
  void WriteControl(uint16_t type, absl::string_view payload);
  void WriteReset(uint32_t stream, uint32_t code);
  void WriteData(uint32_t stream, uint8_t flags, absl::string_view bytes);

  std::string input_;
  size_t read_ = 0;  // of input_
  SpdyHeaderReader header_reader_;
  absl::flat_hash_map<uint32_t, Stream> streams_;
  uint32_t last_id_ = 0;  // the highest that the peer has used

  bool in_data_ = false;  // a DATA frame has begun: its stream, what is still to come, its FIN
  uint32_t data_stream_ = 0;
  size_t data_left_ = 0;
  bool data_fin_ = false;
  uint32_t fin_of_ = 0;  // a stream whose kFin follows at once; 0: none

  Status broken_;
  std::string output_;
  bool replied_ = false;  // the first header block of ours is out
  bool gone_away_ = false;
};

}  // namespace gantry::cri::streaming
