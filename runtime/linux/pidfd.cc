#include "runtime/linux/pidfd.h"

#include <signal.h>
#include <sys/wait.h>

// The header of glibc 2.36 does not say that its functions are C's.
extern "C" {
#include <sys/pidfd.h>
}

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace gantry {

StatusOr<UniqueFd> OpenPidFd(pid_t pid) {
  UniqueFd fd(pidfd_open(pid, 0));
  if (!fd.valid()) return SyscallError("pidfd_open", absl::StrCat(pid));
  return fd;
}

Status SignalPidFd(int pidfd, int signal) {
  if (pidfd_send_signal(pidfd, signal, nullptr, 0) != 0 && errno != ESRCH) {
    return SyscallError("send signal", absl::StrCat(signal));
  }
  return absl::OkStatus();
}

StatusOr<std::optional<ExitStatus>> WaitPidFd(int pidfd, bool block) {
  siginfo_t info = {};
  int result = -1;
  do {
    result =
        waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED | __WALL | (block ? 0 : WNOHANG));
  } while (result != 0 && errno == EINTR);
  if (result != 0) return SyscallError("waitid");
  if (info.si_pid == 0) return std::optional<ExitStatus>();
  return std::optional<ExitStatus>(
      ExitStatus{.signaled = info.si_code != CLD_EXITED, .value = info.si_status});
}

}  // namespace gantry
