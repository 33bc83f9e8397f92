// What processes of a group hold open.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace gantry::cri {

struct ProcessCounts {
  uint64_t processes = 0;
  // Unset when there are more than the bound: looking at each would hold up the caller.
  std::optional<uint64_t> descriptors, sockets;
};

// A process that ends meanwhile has no descriptors.
ProcessCounts CountProcesses(const std::vector<pid_t>& processes);

// How many files the process may open (RLIMIT_NOFILE, the soft one). Unset when it is gone.
std::optional<uint64_t> OpenFileLimit(pid_t pid);

}  // namespace gantry::cri
