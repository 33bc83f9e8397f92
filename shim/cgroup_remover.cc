#include "shim/cgroup_remover.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cstddef>
#include <utility>

#include "runtime/linux/file.h"

namespace gantry::shim {
namespace {

constexpr size_t kMaxGroups = 256;

}  // namespace

bool CgroupRemover::Removed(Group* group) {
  if (group->events.valid()) {
    // Reading re-arms the notification, so it comes before the attempt.
    lseek(group->events.get(), 0, SEEK_SET);
    ReadAll(group->events.get(), "cgroup.events").IgnoreError();
  }
  return RemoveCgroup(group->paths).ok();
}

void CgroupRemover::RemoveWhenEmpty(const CgroupPaths& paths) {
  if (paths.unified_dir.empty()) return;
  const auto group = groups_.emplace(groups_.end());
  group->paths = paths;
  auto events = OpenAt(AT_FDCWD, paths.unified_dir + "/cgroup.events", O_RDONLY);
  if (events.ok()) group->events = *std::move(events);
  if (Removed(&*group)) {
    groups_.erase(group);
    return;
  }
  Watch(group);
  if (groups_.size() > kMaxGroups) groups_.pop_front();
}

void CgroupRemover::Watch(std::list<Group>::iterator group) {
  if (!group->events.valid()) return;
  auto watch = loop_->Add(group->events.get(), EPOLLPRI, [this, group](uint32_t) {
    if (Removed(&*group)) groups_.erase(group);
  });
  if (watch.ok()) group->watch = *std::move(watch);
}

void CgroupRemover::Retry() {
  std::erase_if(groups_, [](Group& group) { return Removed(&group); });
}

}  // namespace gantry::shim
