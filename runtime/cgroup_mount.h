// The "cgroup" mount of a container: its own cgroups and nothing above them.
#pragma once

#include "runtime/base/status.h"
#include "runtime/mount_options.h"

namespace gantry::runtime {

// On a v2 host: cgroup2 on `target_fd`. On a v1 or hybrid host: a tmpfs with one directory for each
// hierarchy (and a link for each controller of a combined one), and cgroup2 as "unified" where it
// is mounted. The hierarchies are read from /proc/self/cgroup: the host's procfs must still be
// visible. With a cgroup namespace of its own the caller's cgroup is the root of each; without one
// the subtree of the caller's cgroup is bound. `plan.top` goes to every mount.
Status MountCgroups(int target_fd, const MountPlan& plan, bool own_namespace);

}  // namespace gantry::runtime
