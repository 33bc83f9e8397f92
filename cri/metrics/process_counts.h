// How many processes a group has, and what they hold open.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "runtime/linux/cgroup.h"

namespace gantry::cri {

struct ProcessCounts {
  uint64_t processes = 0;
  // Unset when there are more than the bound: looking at each would hold up the caller.
  std::optional<uint64_t> descriptors, sockets;
};

// Of the group and the groups below it (execs). A process that ends meanwhile counts for nothing.
ProcessCounts CountProcesses(const CgroupPaths& paths);
// Processes alone: cheap.
uint64_t CountProcessesOnly(const CgroupPaths& paths);

// How many files the process may open (RLIMIT_NOFILE, the soft one). Unset when it is gone.
std::optional<uint64_t> OpenFileLimit(pid_t pid);

}  // namespace gantry::cri
