// What a cloned child and its parent say to each other over a SOCK_SEQPACKET pair: one message a
// packet, first byte the kind. The conversations are drawn in create.h and exec.h. End of file
// tells the parent that execve has succeeded (the child's end is close-on-exec), and the child that
// the parent has gone.
#pragma once

#include <sys/types.h>

#include <span>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::runtime {

enum class HandshakeKind : char {
  kNothing = 1,     // never sent: nothing to read yet
  kClosed = 0,      // never sent: end of file
  kContinue = 'C',  // parent: the child stands in its cgroups
  kStart = 'S',     // parent: execute
  kReady = 'R',     // child: set up, waits for kStart; pod namespaces: here they are (descriptors)
  kTerminal = 'T',  // child: the pty's master (one descriptor)
  kProcess = 'P',   // middle process of an exec: the pid, with its pidfd
  kError = 'E',     // child: the first error; it exits next
};

struct HandshakeMessage {
  HandshakeKind kind = HandshakeKind::kClosed;
  std::vector<UniqueFd> fds;
  pid_t pid = -1;  // kProcess
  Status error;    // kError: code, message and errno as they were in the child
};

Status SendHandshake(int socket, HandshakeKind kind, std::span<const int> fds = {});
Status SendProcess(int socket, pid_t pid, int pidfd);
// A message over 4,000 bytes is cut. Best effort: when it cannot be sent, the parent sees end of
// file.
void SendError(int socket, const Status& error);

// The next message; kNothing when there is none and `block` is false. kInternal for one that makes
// no sense.
StatusOr<HandshakeMessage> ReceiveHandshake(int socket, bool block);

}  // namespace gantry::runtime
