// What the shim and its pump say to each other, one message a packet (SOCK_SEQPACKET). The pump
// answers every command with a message of the same kind.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::shim {

enum class PumpVerb : char {
  kOpen = 'O',    // text: path, empty: discard; descriptors: what to read (stdout, stderr)
  kAttach = 'A',  // text: a letter for each descriptor, o or e: who shall get a copy of what comes
  kReopen = 'R',
  kFinish = 'F',  // the container has ended: write what is left, close, forget
};

struct PumpMessage {
  PumpVerb verb = PumpVerb::kOpen;
  uint32_t log = 0;            // chosen by the shim
  bool interactive = false;    // with kOpen: who is attached is waited for
  bool abandoned = false;      // with kFinish: a file that nothing was written to is removed
  uint64_t dropped_bytes = 0;  // answer to kFinish
  std::string text;            // answers: what went wrong, empty: nothing
};

// Never blocks; an error with ErrnoOf EAGAIN: the socket is full.
Status SendPumpMessage(int socket, const PumpMessage& message, std::span<const int> fds);

struct ReceivedPumpMessage {
  PumpMessage message;
  std::vector<UniqueFd> fds;
};
// Nothing when it would block. kUnavailable: the other side has gone.
StatusOr<std::optional<ReceivedPumpMessage>> ReceivePumpMessage(int socket);

}  // namespace gantry::shim
