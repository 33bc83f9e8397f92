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
// Callers are single-threaded: the child has no other threads' locks to wait for. On failure
// SyscallError("clone").
StatusOr<ClonedProcess> Clone(const CloneRequest& request);

struct InheritedFd {
  int from = -1;  // ours; stays open here
  int to = -1;    // the child's number
};

struct SpawnRequest {
  std::string path;               // absolute; not looked up in PATH
  std::vector<std::string> args;  // with args[0]
  std::vector<std::string> env;   // KEY=value; nothing is inherited
  std::vector<InheritedFd> fds;   // 0, 1, 2 included; all else of ours must be close-on-exec
  bool new_session = false;       // setsid
};

// Starts another program, from any thread. The child has no signal blocked and all at their
// defaults. The returned pidfd is the caller's child: wait for it. On failure SyscallError("spawn",
// path) (ENOENT, EACCES … of execve itself).
StatusOr<ClonedProcess> Spawn(const SpawnRequest& request);

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
