// The other end of an Exec or Attach URL: this process's standard streams, over WebSocket in
// Kubernetes' v5.channel.k8s.io (a message's first byte is its channel: 0 stdin, 1 stdout, 2
// stderr, 3 status, 4 resize, 255 end of a channel).
#pragma once

#include <string>

#include "runtime/base/status.h"

namespace gantry::cli {

struct StreamSession {
  std::string url;  // http://HOST:PORT/PATH, as gantryd gave it
  bool stdin = false;
  bool tty = false;  // raw terminal, its size followed; Ctrl-P Ctrl-Q detaches
  // Polls readable when the session is to be given up (a signal); -1: never.
  int wake_fd = -1;
};

enum class SessionEnd { kFinished, kDetached, kGivenUp };

struct SessionResult {
  SessionEnd end = SessionEnd::kFinished;
  int exit_code = 0;  // of the command, when it is finished
};

// Relays until the other side ends the session, the person detaches or `wake_fd` says so. Errors:
// kUnavailable (no connection, or it broke), kFailedPrecondition (no terminal), and what the other
// side says went wrong.
StatusOr<SessionResult> RelayStreams(const StreamSession& session);

// The status message of a session's end as an exit code; kInternal with its text for anything but
// success and a command's own code.
StatusOr<int> ExitCodeOfStatus(const std::string& json);

}  // namespace gantry::cli
