// Kills a process with all below it where no cgroup holds them together.
#pragma once

#include <sys/types.h>

#include <vector>

namespace gantry::shim {

// The processes that descend from `root` now (/proc/PID/stat field 4), without `root`. One that has
// lost its parent belongs to nobody's tree any more.
std::vector<pid_t> Descendants(pid_t root);

// SIGKILL to the descendants of `root`, again until none is left (ten rounds at most), and to
// `root` last, so that it keeps the tree together. `root` is a child of the caller that has not
// been waited for.
void KillTree(pid_t root);

}  // namespace gantry::shim
