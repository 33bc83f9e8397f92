#include "runtime/handshake.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "runtime/linux/unix_socket.h"

namespace gantry::runtime {
namespace {

constexpr size_t kMaxPacket = 4096;

// Both ends are the same program: the packet is these bytes as they lie in memory, then the text.
struct Packet {
  HandshakeKind kind = HandshakeKind::kClosed;
  char unused[3] = {};  // spelled out: padding would carry whatever the stack held
  int32_t number = 0;   // kProcess: pid; kError: status code
  int32_t error = 0;    // kError: errno
};

Status Send(int socket, const Packet& packet, absl::string_view text, std::span<const int> fds) {
  std::string bytes(reinterpret_cast<const char*>(&packet), sizeof packet);
  bytes.append(text.data(), std::min(text.size(), kMaxPacket - sizeof packet));
  return SendWithFds(socket, bytes, fds).status();
}

Status ErrorFrom(const Packet& packet, absl::string_view text) {
  Status status(static_cast<absl::StatusCode>(packet.number), text);
  if (status.ok()) return absl::InternalError("handshake: an error without a code");
  return packet.error != 0 ? WithErrno(std::move(status), packet.error) : status;
}

}  // namespace

Status SendHandshake(int socket, HandshakeKind kind, std::span<const int> fds) {
  Packet packet;
  packet.kind = kind;
  return Send(socket, packet, "", fds);
}

Status SendProcess(int socket, pid_t pid, int pidfd) {
  Packet packet;
  packet.kind = HandshakeKind::kProcess;
  packet.number = pid;
  return Send(socket, packet, "", std::span<const int>(&pidfd, 1));
}

void SendError(int socket, const Status& error) {
  Packet packet;
  packet.kind = HandshakeKind::kError;
  packet.number = static_cast<int32_t>(error.code());
  packet.error = ErrnoOf(error);
  (void)Send(socket, packet, error.message(), {});
}

StatusOr<HandshakeMessage> ReceiveHandshake(int socket, bool block) {
  char buffer[kMaxPacket];
  auto received = ReceiveWithFds(socket, buffer, block ? 0 : MSG_DONTWAIT);
  // A child that died with unread messages of ours resets the connection: the end all the same.
  if (!received.ok() && ErrnoOf(received.status()) == ECONNRESET) return HandshakeMessage();
  if (!received.ok()) return Annotate(received.status(), "handshake");
  HandshakeMessage message;
  if (!received->has_value()) {
    message.kind = HandshakeKind::kNothing;
    return message;
  }
  message.fds = std::move((*received)->fds);
  const size_t size = (*received)->size;
  if (size == 0) return message;
  Packet packet;
  if (size < sizeof packet) return absl::InternalError("handshake: a message too short");
  memcpy(&packet, buffer, sizeof packet);
  message.kind = packet.kind;
  if (packet.kind == HandshakeKind::kProcess) message.pid = packet.number;
  if (packet.kind == HandshakeKind::kError) {
    message.error = ErrorFrom(packet, absl::string_view(buffer, size).substr(sizeof packet));
  }
  return message;
}

}  // namespace gantry::runtime
