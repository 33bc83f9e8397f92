#include "shim/frame.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

#include "runtime/linux/unix_socket.h"

namespace gantry::shim {
namespace {

constexpr size_t kMaxQueuedBytes = size_t{8} << 20;
constexpr size_t kReceiveSize = 16384;

uint32_t ReadBigEndian(const char* bytes) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

void AppendBigEndian(uint32_t value, std::string* out) {
  for (int shift = 24; shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift));
}

std::string Encode(const Frame& frame, size_t fd_count) {
  std::string bytes;
  bytes.reserve(kFrameHeaderSize + frame.body.size());
  AppendBigEndian(static_cast<uint32_t>(frame.body.size()), &bytes);
  AppendBigEndian(frame.stream, &bytes);
  bytes.push_back(static_cast<char>(frame.type));
  bytes.push_back(static_cast<char>(fd_count));
  bytes += frame.body;
  return bytes;
}

// Bytes sent; 0: the socket takes nothing now.
StatusOr<size_t> SendSome(int socket, absl::string_view bytes, std::span<const int> fds) {
  auto sent = SendWithFds(socket, bytes, fds, MSG_DONTWAIT);
  if (!sent.ok() && ErrnoOf(sent.status()) == EAGAIN) return size_t{0};
  return sent;
}

StatusOr<std::vector<UniqueFd>> Duplicate(std::span<const int> fds) {
  std::vector<UniqueFd> copies;
  for (int fd : fds) {
    UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!copy.valid()) return SyscallError("dup", absl::StrCat("descriptor ", fd));
    copies.push_back(std::move(copy));
  }
  return copies;
}

}  // namespace

Status FrameDecoder::ReadHeader() {
  body_size_ = ReadBigEndian(header_.data());
  frame_.stream = ReadBigEndian(header_.data() + 4);
  const auto type = static_cast<uint8_t>(header_[8]);
  const auto fd_count = static_cast<uint8_t>(header_[9]);
  if (body_size_ > kMaxFrameBody) {
    return absl::InvalidArgumentError(absl::StrCat("frame of ", body_size_, " bytes"));
  }
  if (type < 1 || type > 3) return absl::InvalidArgumentError(absl::StrCat("frame type ", type));
  frame_.type = static_cast<FrameType>(type);
  // The descriptors come with the first byte, so they are here by now.
  if (fd_count > fds_.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("frame announces ", fd_count, " descriptors, ", fds_.size(), " came"));
  }
  for (int i = 0; i < fd_count; ++i) {
    frame_.fds.push_back(std::move(fds_.front()));
    fds_.pop_front();
  }
  return absl::OkStatus();
}

Status FrameDecoder::Feed(absl::string_view bytes, std::vector<UniqueFd> fds,
                          std::vector<Frame>* frames) {
  for (UniqueFd& fd : fds) fds_.push_back(std::move(fd));
  while (!bytes.empty()) {
    if (header_.size() < kFrameHeaderSize) {
      const size_t take = std::min(bytes.size(), kFrameHeaderSize - header_.size());
      header_.append(bytes.data(), take);
      bytes.remove_prefix(take);
      if (header_.size() < kFrameHeaderSize) break;
      RETURN_IF_ERROR(ReadHeader());
    }
    const size_t take = std::min(bytes.size(), body_size_ - frame_.body.size());
    frame_.body.append(bytes.data(), take);
    bytes.remove_prefix(take);
    if (frame_.body.size() == body_size_) {
      frames->push_back(std::exchange(frame_, Frame{}));
      header_.clear();
    }
  }
  const bool inside_header = !header_.empty() && header_.size() < kFrameHeaderSize;
  if (fds_.size() > (inside_header ? kMaxFrameFds : 0)) {
    return absl::InvalidArgumentError("descriptors that no frame announces");
  }
  return absl::OkStatus();
}

Status FrameSender::Send(int socket, const Frame& frame, std::span<const int> fds) {
  if (frame.body.size() > kMaxFrameBody || fds.size() > kMaxFrameFds) {
    return absl::InvalidArgumentError(absl::StrCat("message of ", frame.body.size(), " bytes and ",
                                                   fds.size(), " descriptors is too large"));
  }
  Item item{.bytes = Encode(frame, fds.size()), .sent = 0, .fds = {}};
  if (queue_.empty()) {
    ASSIGN_OR_RETURN(item.sent, SendSome(socket, item.bytes, fds));
    if (item.sent == item.bytes.size()) return absl::OkStatus();
  }
  if (queued_bytes_ + item.bytes.size() > kMaxQueuedBytes) {
    return absl::ResourceExhaustedError("peer does not read");
  }
  if (item.sent == 0) {
    ASSIGN_OR_RETURN(item.fds, Duplicate(fds));
  }
  queued_bytes_ += item.bytes.size();
  queue_.push_back(std::move(item));
  return absl::OkStatus();
}

Status FrameSender::Flush(int socket) {
  while (!queue_.empty()) {
    Item& item = queue_.front();
    std::vector<int> fds;
    for (const UniqueFd& fd : item.fds) fds.push_back(fd.get());
    ASSIGN_OR_RETURN(const size_t sent,
                     SendSome(socket, absl::string_view(item.bytes).substr(item.sent), fds));
    if (sent == 0) return absl::OkStatus();
    item.fds.clear();
    item.sent += sent;
    if (item.sent < item.bytes.size()) continue;
    queued_bytes_ -= item.bytes.size();
    queue_.pop_front();
  }
  return absl::OkStatus();
}

StatusOr<ReceiveOutcome> ReceiveFrames(int socket, FrameDecoder* decoder,
                                       std::vector<Frame>* frames) {
  char buffer[kReceiveSize];
  auto received = ReceiveWithFds(socket, buffer, MSG_DONTWAIT);
  if (!received.ok() && ErrnoOf(received.status()) == ECONNRESET) return ReceiveOutcome::kClosed;
  RETURN_IF_ERROR(received.status());
  if (!received->has_value()) return ReceiveOutcome::kWouldBlock;
  ReceivedMessage& message = **received;
  if (message.size == 0) return ReceiveOutcome::kClosed;
  RETURN_IF_ERROR(
      decoder->Feed(absl::string_view(buffer, message.size), std::move(message.fds), frames));
  return ReceiveOutcome::kData;
}

}  // namespace gantry::shim
