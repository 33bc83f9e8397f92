// Frames of the shim protocol (shim.proto), one behind the other on a stream socket:
//
//   0        4        8      9       10
//   ├────────┼────────┼──────┼───────┼──────────────
//   │ length │ stream │ type │ flags │ body …           numbers are big-endian
//   └────────┴────────┴──────┴───────┴──────────────
//
// `flags` is the number of descriptors that ride on the frame's first byte (SCM_RIGHTS, unix(7)).
// The decoder does no I/O; sender and receiver work on non-blocking sockets. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::shim {

inline constexpr size_t kFrameHeaderSize = 10;
inline constexpr size_t kMaxFrameBody = size_t{4} << 20;
inline constexpr size_t kMaxFrameFds = 16;

enum class FrameType : uint8_t { kRequest = 1, kReply = 2, kEvent = 3 };

struct Frame {
  FrameType type = FrameType::kRequest;
  uint32_t stream = 0;
  std::string body;
  std::vector<UniqueFd> fds;
};

// Cuts a byte stream into frames.
class FrameDecoder {
 public:
  // Takes what one recvmsg(2) returned and appends the frames that are complete now to `frames`.
  // kInvalidArgument: the stream is malformed; the connection must be closed, for the decoder has
  // lost its place.
  Status Feed(absl::string_view bytes, std::vector<UniqueFd> fds, std::vector<Frame>* frames);

 private:
  Status ReadHeader();

  std::string header_;  // of the frame that is being read, up to kFrameHeaderSize bytes
  size_t body_size_ = 0;
  Frame frame_;
  std::deque<UniqueFd> fds_;  // arrived, not yet claimed by a header
};

// Sends frames in order and keeps what the socket does not take yet.
class FrameSender {
 public:
  // Copies of `fds` travel with the frame; the caller keeps his. kInvalidArgument: body or fds over
  // the limits. kResourceExhausted: the peer has not read 8 MiB. kInternal: sendmsg(2) failed.
  // After an error the connection is lost.
  Status Send(int socket, const Frame& frame, std::span<const int> fds);
  // To be called when the socket is writable. Errors as Send.
  Status Flush(int socket);
  // Whether something waits for the socket to become writable.
  [[nodiscard]] bool pending() const { return !queue_.empty(); }

 private:
  struct Item {
    std::string bytes;
    size_t sent = 0;
    std::vector<UniqueFd> fds;  // empty once the first byte has gone
  };
  std::deque<Item> queue_;
  size_t queued_bytes_ = 0;
};

enum class ReceiveOutcome { kData, kWouldBlock, kClosed };

// One recvmsg(2) fed to the decoder; received descriptors are close-on-exec. Errors: those of Feed,
// kResourceExhausted for descriptors that did not fit, kInternal when recvmsg fails.
StatusOr<ReceiveOutcome> ReceiveFrames(int socket, FrameDecoder* decoder,
                                       std::vector<Frame>* frames);

}  // namespace gantry::shim
