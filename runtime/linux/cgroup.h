// Control groups as directories: which hierarchies the host has, making and removing a group in all
// of them, and what is done to its processes. Limits are in runtime/cgroup_limits.h.
//
// A group has one path, as in /proc/PID/cgroup ("/kubepods/burstable/podX/gantry-Y"), and a
// directory of that path below each hierarchy's mount point. On hybrid hosts (controllers on v1,
// cgroup2 mounted as well) it gets a directory in the v2 tree too: cgroup.kill and
// CLONE_INTO_CGROUP work there.
//
// cgroups(7); Documentation/admin-guide/cgroup-v2.rst; cgroup.kill: Linux 5.14. Any thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry {

enum class CgroupLayout { kUnified, kHybrid, kLegacy };

// The host's hierarchies. A value: detect it once at start and pass it on.
struct CgroupHost {
  std::string unified_mount;  // "/sys/fs/cgroup"; empty: cgroup2 is not mounted
  // v1 controller → mount point; controllers mounted together share one. Named hierarchies that
  // hold no controller are there too ("name=systemd"): systemd would count processes left in them
  // as ours.
  std::map<std::string, std::string> v1_mounts;
  [[nodiscard]] CgroupLayout layout() const;
};

// Reads /proc/self/mountinfo and /proc/cgroups. kFailedPrecondition: no cgroup file system is
// mounted.
StatusOr<CgroupHost> DetectCgroupHost();
// The same from the files' texts.
StatusOr<CgroupHost> ParseCgroupHost(absl::string_view mountinfo, absl::string_view proc_cgroups);

// The directories of one group.
struct CgroupPaths {
  std::string unified_dir;                     // empty: no v2 tree
  std::map<std::string, std::string> v1_dirs;  // by controller; empty on pure v2
  // The distinct directories of v1_dirs, one per hierarchy.
  [[nodiscard]] std::vector<std::string> V1Hierarchies() const;
  // Where the files of `controller` are: the v1 directory when v1 has it, else the v2 one.
  [[nodiscard]] const std::string& DirOf(absl::string_view controller) const;
  [[nodiscard]] bool IsV1(absl::string_view controller) const;
  // The file whose line "oom_kill N" counts (see OomKillCount); empty: no memory controller.
  [[nodiscard]] std::string OomFile() const;
};

// kInvalidArgument: `path` is not absolute, is the root, or has an empty part, "." or "..".
StatusOr<CgroupPaths> CgroupPathsFor(const CgroupHost& host, absl::string_view path);

// Makes the group, and parents that are missing, in every hierarchy. On v2 the controllers cpu,
// memory, io, pids, cpuset and hugetlb are enabled on the way down, as far as there are any and the
// kernel agrees (a limit that needs a missing one fails later, by name). On v1 a new cpuset gets
// its parent's CPUs and memory nodes, else nobody could enter it. A group that exists is taken over
// when it is empty. kAlreadyExists: it holds processes. On failure what this call made is removed
// again.
Status CreateCgroup(const CgroupHost& host, absl::string_view path);

// Makes the child group `name` of an existing group: no controllers of its own on v2. For execs.
// Returns its directories. Where the group has given its own tree controllers: EBUSY or EOPNOTSUPP
// on joining, and the caller joins the group itself.
StatusOr<CgroupPaths> CreateChildCgroup(const CgroupPaths& paths, absl::string_view name);

// Removes the group with all groups below it, in every hierarchy; what is gone already is fine.
// Waits until `patience` is over for processes that are still dying (zero: does not wait). An error
// with ErrnoOf EBUSY: processes are left, and so is their group.
Status RemoveCgroup(const CgroupPaths& paths,
                    std::chrono::milliseconds patience = std::chrono::milliseconds(0));

// The v2 directory of the group that `pid` is in, which is `above` or below it (both as the host
// sees them): where a container has given its controllers to groups of its own, nobody may enter
// `above` itself. kNotFound: the process is gone, or is elsewhere.
StatusOr<std::string> UnifiedGroupBelow(const std::string& above, pid_t pid);

// Moves the caller, which must have one thread only, into a group. On v1 through its file `tasks`:
// a thread that moves itself waits for no grace period of RCU, unlike a write to cgroup.procs
// (Linux 5.4 and later; there it takes 5 to 15 ms).
Status EnterCgroup(const std::string& directory);

// Moves a process, with all threads, into the group in every hierarchy. See EnterCgroup for its
// cost.
Status JoinCgroup(const CgroupPaths& paths, pid_t pid);

// Sends SIGKILL to every process of the group and of groups below it, also to those that fork
// meanwhile: cgroup.kill where there is a v2 tree, else frozen, killed one by one and thawed. Does
// not wait for their end. A group that is gone is fine.
Status KillCgroup(const CgroupPaths& paths);

// The processes of the group and of the groups below it, in no order. Empty when it is gone.
StatusOr<std::vector<pid_t>> CgroupProcesses(const CgroupPaths& paths);

// The counter "oom_kill" of memory.events (v2) or memory.oom_control (v1): processes that the OOM
// killer took in the group.
StatusOr<uint64_t> OomKillCount(const std::string& oom_file);

}  // namespace gantry
