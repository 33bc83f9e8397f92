// Processes held by descriptor: no signal or wait can hit a recycled pid. Linux 5.4 and later.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry {

// pidfd_open(2) (close-on-exec). Safe for a child not yet waited for; for others compare
// ProcessStartTime afterwards. The descriptor polls readable once the process has exited.
StatusOr<UniqueFd> OpenPidFd(pid_t pid);

// pidfd_send_signal(2). OK too when the process has exited (ESRCH): it needs no signal any more.
Status SignalPidFd(int pidfd, int signal);

// The same for the process of that pid that started at `start_time` (ProcessStartTime): whoever has
// the pid by now is left alone. OK when there is none.
Status SignalProcess(pid_t pid, uint64_t start_time, int signal);

// How a process ended.
struct ExitStatus {
  bool signaled = false;
  int value = 0;  // exit code, or the signal's number
  // As a shell and the kubelet count: 128 + signal.
  [[nodiscard]] int Code() const { return signaled ? 128 + value : value; }
};

// waitid(2) with P_PIDFD: reaps a child of the caller. Without `block`, nothing when it has not
// exited. Children of any exit signal are waited for (__WALL).
StatusOr<std::optional<ExitStatus>> WaitPidFd(int pidfd, bool block);

}  // namespace gantry
