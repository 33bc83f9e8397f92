#include "runtime/exec.h"

#include <linux/sched.h>
#include <sys/socket.h>

#include <utility>

#include "runtime/exec_init.h"
#include "runtime/handshake.h"
#include "runtime/linux/process.h"
#include "runtime/linux/unix_socket.h"

namespace gantry::runtime {

StatusOr<ExecOperation> ExecOperation::Begin(const ExecRequest& request) {
  if (request.process->args.empty()) return absl::InvalidArgumentError("process.args is empty");
  ASSIGN_OR_RETURN(auto ends, SocketPair(SOCK_SEQPACKET));
  ASSIGN_OR_RETURN(ClonedProcess middle, Clone(CloneRequest{.flags = CLONE_CLEAR_SIGHAND,
                                                            .cgroup_fd = request.cgroup_fd}));
  if (middle.pid == 0) {
    ends.first.Reset();
    ExecInit(request, std::move(ends.second)).Run();
  }
  ExecOperation operation;
  operation.middle_pid_ = middle.pid;
  operation.handshake_ = std::move(ends.first);
  return operation;
}

StatusOr<ExecOperation::Step> ExecOperation::OnReadable() {
  ASSIGN_OR_RETURN(HandshakeMessage message, ReceiveHandshake(handshake_.get(), /*block=*/false));
  switch (message.kind) {
    case HandshakeKind::kNothing:
      return Step::kPending;
    case HandshakeKind::kTerminal:
      if (!message.fds.empty()) terminal_ = std::move(message.fds.front());
      return Step::kPending;
    case HandshakeKind::kProcess:
      pid_ = message.pid;
      if (!message.fds.empty()) pidfd_ = std::move(message.fds.front());
      break;
    case HandshakeKind::kError:
      error_ = message.error;
      break;
    case HandshakeKind::kClosed:
      handshake_.Reset();
      if (!error_.ok()) return error_;
      if (pid_ > 0) return Step::kRunning;
      return absl::InternalError("the process was killed before it was set up");
    default:
      return absl::InternalError("handshake: an unexpected message");
  }
  // An error of the real process may overtake the news of its pid: without the pid the caller could
  // not reap it.
  if (error_.ok() || pid_ <= 0) return Step::kPending;
  handshake_.Reset();
  return error_;
}

}  // namespace gantry::runtime
