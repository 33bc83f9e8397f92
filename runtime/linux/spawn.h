// Other programs as children, from any thread.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/linux/process.h"

namespace gantry {

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
  // Cgroup v2 directory to be born in; -1: the caller's. Moving a process later waits for a grace
  // period of RCU: milliseconds.
  int cgroup_fd = -1;
};

// Starts another program. The child has no signal blocked and all at their defaults. The returned
// pidfd is the caller's child: wait for it. On failure SyscallError("spawn", path) (ENOENT, EACCES
// … of execve itself; with a cgroup also EBUSY, EOPNOTSUPP, EACCES of entering it).
StatusOr<ClonedProcess> Spawn(const SpawnRequest& request);

}  // namespace gantry
