#include "imageservice/pull_cgroup.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

#include "runtime/linux/cgroup.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

// The child's numbers for them: behind all that a puller or unpacker uses.
constexpr int kFirstTasksFd = 30;
constexpr const char* kControllers[] = {"cpu", "memory", "blkio"};
constexpr int kMaxTasks = 3;

struct Setting {
  const char* controller;
  const char* v1_file;
  const char* v1_value;
  const char* v2_file;
  const char* v2_value;
};
constexpr Setting kSettings[] = {
    {"cpu", "cpu.shares", "204", "cpu.weight", "20"},
    {"blkio", "blkio.weight", "100", "io.weight", "default 20"},
    {"blkio", "blkio.bfq.weight", "20", "io.bfq.weight", "20"},
    {"memory", "memory.soft_limit_in_bytes", "1073741824", "memory.high", "1073741824"},
};

// No error where the file is missing or refuses: see the header.
void Set(const std::string& directory, const char* file, const char* value) {
  if (directory.empty()) return;
  const StatusOr<UniqueFd> fd = OpenAt(AT_FDCWD, absl::StrCat(directory, "/", file), O_WRONLY);
  if (fd.ok()) static_cast<void>(write(fd->get(), value, strlen(value)));
}

}  // namespace

StatusOr<PullCgroup> PullCgroup::Make(const std::string& path) {
  ASSIGN_OR_RETURN(const CgroupHost host, DetectCgroupHost());
  const Status made = CreateCgroup(host, path);
  // Children of a daemon that was killed may still be there.
  if (!made.ok() && !absl::IsAlreadyExists(made)) return made;
  ASSIGN_OR_RETURN(const CgroupPaths paths, CgroupPathsFor(host, path));
  for (const Setting& setting : kSettings) {
    const bool v1 = paths.IsV1(setting.controller);
    Set(v1 ? paths.DirOf(setting.controller) : paths.unified_dir,
        v1 ? setting.v1_file : setting.v2_file, v1 ? setting.v1_value : setting.v2_value);
  }
  PullCgroup cgroup;
  if (!paths.unified_dir.empty()) {
    ASSIGN_OR_RETURN(cgroup.unified_, OpenAt(AT_FDCWD, paths.unified_dir, O_RDONLY | O_DIRECTORY));
  }
  std::set<std::string> seen;
  for (const char* controller : kControllers) {
    if (!paths.IsV1(controller) || !seen.insert(paths.DirOf(controller)).second) continue;
    ASSIGN_OR_RETURN(UniqueFd tasks,
                     OpenAt(AT_FDCWD, paths.DirOf(controller) + "/tasks", O_WRONLY));
    cgroup.tasks_.push_back(std::move(tasks));
  }
  return cgroup;
}

void PullCgroup::Hand(std::vector<InheritedFd>& fds) const {
  int to = kFirstTasksFd;
  for (const UniqueFd& tasks : tasks_) fds.push_back({tasks.get(), to++});
}

void EnterHandedCgroups() {
  for (int fd = kFirstTasksFd; fd < kFirstTasksFd + kMaxTasks; ++fd) {
    if (fcntl(fd, F_GETFD) < 0) continue;
    static_cast<void>(write(fd, "0", 1));  // the writer itself
    close(fd);
  }
}

}  // namespace gantry::images
