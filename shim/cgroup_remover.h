// Removes the cgroups of execs once the last process in them has gone.
#pragma once

#include <list>

#include "runtime/linux/cgroup.h"
#include "runtime/linux/unique_fd.h"
#include "shim/event_loop.h"

namespace gantry::shim {

class CgroupRemover {
 public:
  explicit CgroupRemover(EventLoop* loop) : loop_(loop) {}
  CgroupRemover(const CgroupRemover&) = delete;
  CgroupRemover& operator=(const CgroupRemover&) = delete;

  // Now, or when what an exec left in the background has ended: cgroup.events tells (cgroups(7),
  // "populated"; it polls EPOLLPRI). `paths` names a group of the unified hierarchy; an empty one
  // is ignored. At most 256 are waited for, the oldest is then left to whoever removes the
  // container's group.
  void RemoveWhenEmpty(const CgroupPaths& paths);
  // Tries all again: those that could not be watched have no other moment.
  void Retry();

 private:
  struct Group {
    CgroupPaths paths;
    UniqueFd events;
    EventLoop::Watch watch;  // ends before `events` is closed
  };
  static bool Removed(Group* group);
  void Watch(std::list<Group>::iterator group);

  EventLoop* loop_;
  std::list<Group> groups_;
};

}  // namespace gantry::shim
