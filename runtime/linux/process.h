// Processes: clone3(2) for the single-threaded, posix_spawn(3) for everybody, and what /proc says
// of a process.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry {

struct CloneRequest {
  uint64_t flags = 0;  // CLONE_NEW*, CLONE_PARENT; CLONE_PIDFD is added
  int cgroup_fd = -1;  // cgroup v2 directory to be born in; -1: the caller's
};

struct ClonedProcess {
  pid_t pid = -1;  // 0 in the child
  UniqueFd pidfd;  // in the parent
};

// clone3(2) as a fork: the child goes on with a copy of everything and must end in execve or _exit.
// SIGCHLD is the exit signal (with CLONE_PARENT, the caller's own). Where clone3 is refused
// (ENOSYS: a filter around us), clone(2) is used, and the parent writes the child into the cgroup.
// The child of a caller with threads may only make system calls: their locks stay locked in it. On
// failure SyscallError("clone").
StatusOr<ClonedProcess> Clone(const CloneRequest& request);

// Clock ticks since boot at which the process started (field 22 of /proc/PID/stat): with the pid, a
// process's identity within one boot.
StatusOr<uint64_t> ProcessStartTime(pid_t pid);

// The signals 1 to 31 that the caller ignores: bit n - 1 for signal n. From /proc, as procfs must
// show the caller.
StatusOr<uint64_t> IgnoredSignals();

// Closes every descriptor from 3 up but those in `keep` (values below 3 are ignored). For children
// of a fork, which hold a copy of everything that the parent has open.
Status CloseFdsExcept(std::vector<int> keep);

// What ps shows: overwrites the memory of `argv` (as main got it; its strings are lost), cut to its
// length, and sets the thread's name to the first 15 bytes.
void SetProcessTitle(int argc, char** argv, absl::string_view title);

}  // namespace gantry
