// The control group of all pullers and unpackers: what pulls take from a busy node is what pods do
// not need.
//
// On v2 a child is born in it. On v1 it gets the groups' files `tasks` as descriptors and enters by
// itself, first thing in main: moving another process would wait for grace periods of RCU, some ten
// milliseconds each. Controllers that are missing, and files that a kernel does not have, are no
// error: then there is that much less to say.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/linux/spawn.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

// A value; any thread.
class PullCgroup {
 public:
  // Makes the group `path` ("/gantry-pulls") or takes over the one that is there, and sets a fifth
  // of a default group's weight for processors and disks, and 1 GiB of memory above which the
  // kernel takes it back (page cache, mostly: it is never a limit that kills). The group stays when
  // this is destroyed. Errors as CreateCgroup.
  static StatusOr<PullCgroup> Make(const std::string& path);

  // For SpawnRequest::cgroup_fd; -1 without a v2 tree.
  int unified_fd() const { return unified_.get(); }
  // Adds what a child on v1 needs for EnterHandedCgroups.
  void Hand(std::vector<InheritedFd>& fds) const;

 private:
  PullCgroup() = default;
  UniqueFd unified_;
  std::vector<UniqueFd> tasks_;  // of cpu, memory, blkio, one per hierarchy
};

// In a child, while it has one thread: enters the groups whose files it was given, and closes them.
void EnterHandedCgroups();

}  // namespace gantry::images
