#include "shim/pump_messages.h"

#include <sys/socket.h>

#include <cstring>

#include "runtime/linux/unix_socket.h"

namespace gantry::shim {
namespace {

constexpr size_t kHeaderSize = 16;
constexpr size_t kMaxText = 4096;

}  // namespace

Status SendPumpMessage(int socket, const PumpMessage& message, std::span<const int> fds) {
  char packet[kHeaderSize + kMaxText] = {};
  packet[0] = static_cast<char>(message.verb);
  packet[1] = message.interactive ? 1 : 0;
  packet[2] = message.abandoned ? 1 : 0;
  std::memcpy(packet + 4, &message.log, sizeof(message.log));
  std::memcpy(packet + 8, &message.dropped_bytes, sizeof(message.dropped_bytes));
  const size_t text = message.text.copy(packet + kHeaderSize, kMaxText);
  return SendWithFds(socket, absl::string_view(packet, kHeaderSize + text), fds, MSG_DONTWAIT)
      .status();
}

StatusOr<std::optional<ReceivedPumpMessage>> ReceivePumpMessage(int socket) {
  char packet[kHeaderSize + kMaxText];
  ASSIGN_OR_RETURN(auto received, ReceiveWithFds(socket, packet, MSG_DONTWAIT));
  if (!received.has_value()) return std::nullopt;
  if (received->size < kHeaderSize) return absl::UnavailableError("the other side has gone");
  ReceivedPumpMessage result;
  result.message.verb = static_cast<PumpVerb>(packet[0]);
  result.message.interactive = packet[1] != 0;
  result.message.abandoned = packet[2] != 0;
  std::memcpy(&result.message.log, packet + 4, sizeof(result.message.log));
  std::memcpy(&result.message.dropped_bytes, packet + 8, sizeof(result.message.dropped_bytes));
  result.message.text.assign(packet + kHeaderSize, received->size - kHeaderSize);
  result.fds = std::move(received->fds);
  return std::optional(std::move(result));
}

}  // namespace gantry::shim
