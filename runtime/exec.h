// A further process in a running container, as an operation (see create.h for the form).
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

// Everything is borrowed for the time of the call.
struct ExecRequest {
  const spec::Process* process = nullptr;
  int container_pidfd = -1;  // init of the container; its namespaces are joined
  pid_t container_pid = -1;
  int cgroup_fd = -1;                       // v2 directory to be born in; -1: none
  std::vector<std::string> v1_cgroup_dirs;  // entered before the namespaces are joined
  int stdio[3] = {-1, -1, -1};              // ignored with process->terminal
  std::string seccomp_bpf;
};

// Two clones: a middle process joins the namespaces and clones the real one with CLONE_PARENT, so
// that it is a child of the caller (who reaps both) although it lives in the container's PID
// namespace.
//
//   caller                         middle process                      real process
//   Begin: clone3 ───────────────▶ v1 cgroups, namespaces
//                                  clone3(CLONE_PARENT) ─────────────▶ terminal, identity, seccomp
//   OnReadable ◀──── PROCESS(pid) ─ exits with 0
//   OnReadable → kRunning                            ◀── end of file ─ execve
//   OnReadable → error   ◀── ERROR(status), from either; both then exit
class ExecOperation {
 public:
  enum class Step { kPending, kRunning };
  static StatusOr<ExecOperation> Begin(const ExecRequest& request);
  ExecOperation(ExecOperation&&) = default;
  ExecOperation& operator=(ExecOperation&&) = default;

  // Readable when OnReadable has something to read; -1 once running or failed.
  [[nodiscard]] int poll_fd() const { return handshake_.get(); }
  // Never blocks. kRunning: execve has succeeded. An error is the child's own.
  StatusOr<Step> OnReadable();
  // The middle process, a child to reap as well; it exits by itself.
  [[nodiscard]] pid_t middle_pid() const { return middle_pid_; }
  // Known (host PID namespace) once the middle process has reported it; -1 before.
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  [[nodiscard]] UniqueFd TakePidfd() { return std::move(pidfd_); }
  [[nodiscard]] UniqueFd TakeTerminal() { return std::move(terminal_); }

 private:
  ExecOperation() = default;
  pid_t middle_pid_ = -1;
  pid_t pid_ = -1;
  UniqueFd pidfd_;
  UniqueFd handshake_;
  UniqueFd terminal_;
  Status error_;  // the child's, kept until the pid is known too
};

}  // namespace gantry::runtime
