#include "runtime/linux/pidfd.h"

#include <signal.h>
#include <sys/wait.h>

// The header of glibc 2.36 does not say that its functions are C's.
extern "C" {
#include <sys/pidfd.h>
}

#include <cerrno>

#include "absl/strings/str_cat.h"

#include "runtime/linux/process.h"

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

Status SignalProcess(pid_t pid, uint64_t start_time, int signal) {
  if (pid <= 0) return absl::OkStatus();
  const StatusOr<UniqueFd> pidfd = OpenPidFd(pid);
  if (!pidfd.ok()) return ErrnoOf(pidfd.status()) == ESRCH ? absl::OkStatus() : pidfd.status();
  // Asked while the descriptor is held: the answer is of its process, or of none.
  const StatusOr<uint64_t> started = ProcessStartTime(pid);
  if (!started.ok() || *started != start_time) return absl::OkStatus();
  return SignalPidFd(pidfd->get(), signal);
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
