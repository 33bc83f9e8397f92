// Directories of groups; cgroup_processes.cc deals with what runs in them.
#include "runtime/linux/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <set>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "runtime/linux/directory_stream.h"
#include "runtime/linux/file.h"

namespace gantry {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::array<absl::string_view, 6> kWantedControllers = {"cpu",  "memory", "io",
                                                                 "pids", "cpuset", "hugetlb"};
constexpr size_t kMaxDepth = 64;  // of groups below one that is removed

// The kernel writes space, tab, newline and backslash as \ooo.
std::string DecodeMountinfo(absl::string_view field) {
  std::string decoded;
  for (size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size()) {
      const int code = (field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 + (field[i + 3] - '0');
      decoded.push_back(static_cast<char>(code));
      i += 3;
    } else {
      decoded.push_back(field[i]);
    }
  }
  return decoded;
}

// First column of /proc/cgroups: what of a v1 mount's options is a controller.
std::set<std::string> ControllerNames(absl::string_view proc_cgroups) {
  std::set<std::string> names;
  for (const absl::string_view line : absl::StrSplit(proc_cgroups, '\n', absl::SkipEmpty())) {
    if (absl::StartsWith(line, "#")) continue;
    const std::pair<std::string, std::string> columns =
        absl::StrSplit(line, absl::MaxSplits('\t', 1));
    names.insert(columns.first);
  }
  return names;
}

struct CgroupMount {
  std::string mount_point;
  std::string type;
  std::vector<std::string> super_options;
};

// proc_pid_mountinfo(5): id parent major:minor root mount-point options [optional…] - type source
// super-options
std::vector<CgroupMount> CgroupMounts(absl::string_view mountinfo) {
  std::vector<CgroupMount> mounts;
  for (const absl::string_view line : absl::StrSplit(mountinfo, '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> halves =
        absl::StrSplit(line, absl::MaxSplits(" - ", 1));
    const std::vector<absl::string_view> place = absl::StrSplit(halves.first, ' ');
    const std::vector<absl::string_view> kind = absl::StrSplit(halves.second, ' ');
    if (place.size() < 6 || kind.size() < 3) continue;
    if (kind[0] != "cgroup" && kind[0] != "cgroup2") continue;
    mounts.push_back({.mount_point = DecodeMountinfo(place[4]),
                      .type = std::string(kind[0]),
                      .super_options = absl::StrSplit(kind[2], ',')});
  }
  return mounts;
}

// A directory of the group's path below one mount point, with the parents that it needs.
struct Branch {
  std::string mount;
  bool v2 = false;
  bool cpuset = false;  // v1 with the cpuset controller
};

std::vector<Branch> Branches(const CgroupHost& host) {
  std::vector<Branch> branches;
  if (!host.unified_mount.empty())
    branches.push_back({.mount = host.unified_mount, .v2 = true, .cpuset = false});
  std::map<std::string, bool> v1;  // mount point → has cpuset
  for (const auto& [controller, mount] : host.v1_mounts) v1[mount] |= controller == "cpuset";
  for (const auto& [mount, cpuset] : v1)
    branches.push_back({.mount = mount, .v2 = false, .cpuset = cpuset});
  return branches;
}

// Asks for one controller at a time: a write of several fails as a whole. What the kernel refuses
// (no such controller; the group has processes of its own) is left out.
void EnableControllers(const std::string& dir) {
  const auto offered = ReadFileAt(AT_FDCWD, dir + "/cgroup.controllers");
  const auto enabled = ReadFileAt(AT_FDCWD, dir + "/cgroup.subtree_control");
  if (!offered.ok() || !enabled.ok()) return;
  const std::set<absl::string_view> has = absl::StrSplit(*offered, absl::ByAnyChar(" \n"));
  const std::set<absl::string_view> given = absl::StrSplit(*enabled, absl::ByAnyChar(" \n"));
  for (const absl::string_view controller : kWantedControllers) {
    if (!has.contains(controller) || given.contains(controller)) continue;
    WriteFileAt(AT_FDCWD, dir + "/cgroup.subtree_control", absl::StrCat("+", controller))
        .IgnoreError();
  }
}

Status InheritCpuset(const std::string& parent, const std::string& dir) {
  for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) {
    ASSIGN_OR_RETURN(const std::string own, ReadFileAt(AT_FDCWD, dir + file));
    if (!absl::StripAsciiWhitespace(own).empty()) continue;
    ASSIGN_OR_RETURN(const std::string value, ReadFileAt(AT_FDCWD, parent + file));
    RETURN_IF_ERROR(WriteFileAt(AT_FDCWD, dir + file, absl::StripAsciiWhitespace(value)));
  }
  return absl::OkStatus();
}

Status CheckEmpty(const std::string& dir) {
  CgroupPaths paths;
  paths.unified_dir = dir;
  ASSIGN_OR_RETURN(const std::vector<pid_t> processes, CgroupProcesses(paths));
  if (processes.empty()) return absl::OkStatus();
  return absl::AlreadyExistsError(
      absl::StrCat("cgroup ", dir, " exists and holds process ", processes.front()));
}

// Makes `path` below branch.mount and notes every new directory in `made`.
Status MakeBranch(const Branch& branch, absl::string_view path, std::vector<std::string>& made) {
  std::string dir = branch.mount;
  bool exists = true;
  for (const absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    const std::string parent = dir;
    if (branch.v2) EnableControllers(parent);
    absl::StrAppend(&dir, "/", part);
    exists = mkdir(dir.c_str(), 0755) != 0;
    if (exists && errno != EEXIST) return SyscallError("mkdir", dir);
    if (!exists) made.push_back(dir);
    if (branch.cpuset) RETURN_IF_ERROR(InheritCpuset(parent, dir));
  }
  return exists ? CheckEmpty(dir) : absl::OkStatus();
}

StatusOr<std::vector<std::string>> ChildGroups(const std::string& dir) {
  // NOLINTNEXTLINE(android-cloexec-fopen): opendir sets close-on-exec.
  const DirectoryStream stream(opendir(dir.c_str()));
  if (stream == nullptr) return SyscallError("opendir", dir);
  std::vector<std::string> children;
  while (const dirent* entry = readdir(stream.get())) {
    const absl::string_view name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..")
      children.push_back(absl::StrCat(dir, "/", name));
  }
  return children;
}

Status RemoveTree(const std::string& dir, size_t depth = 0) {
  // Tried first: most groups have no children, and one call is all it takes.
  if (rmdir(dir.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  const int error = errno;
  if (error != EBUSY && error != ENOTEMPTY) return SyscallError("rmdir", dir, error);
  const auto children = ChildGroups(dir);
  if (ErrnoOf(children.status()) == ENOENT) return absl::OkStatus();
  RETURN_IF_ERROR(children.status());
  if (children->empty() || depth == kMaxDepth) return SyscallError("rmdir", dir, EBUSY);
  for (const std::string& child : *children) RETURN_IF_ERROR(RemoveTree(child, depth + 1));
  if (rmdir(dir.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return SyscallError("rmdir", dir);
}

Status RemoveEverywhere(const CgroupPaths& paths) {
  Status first;
  std::vector<std::string> dirs = paths.V1Hierarchies();
  if (!paths.unified_dir.empty()) dirs.push_back(paths.unified_dir);
  for (const std::string& dir : dirs) {
    if (const Status status = RemoveTree(dir); first.ok()) first = status;
  }
  return first;
}

// Waits for a change of cgroup.events (the kernel signals it by POLLPRI), for 10 ms at most: v1 has
// no such event, and on hybrid hosts a process leaves the hierarchies one after the other.
void AwaitChange(const CgroupPaths& paths, Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  const int wait_ms = static_cast<int>(std::clamp<int64_t>(left.count(), 0, 10));
  const auto events = paths.unified_dir.empty()
                          ? StatusOr<UniqueFd>(UniqueFd())
                          : OpenAt(AT_FDCWD, paths.unified_dir + "/cgroup.events", O_RDONLY);
  pollfd watched = {.fd = -1, .events = POLLPRI, .revents = 0};
  if (events.ok() && events->valid()) {
    const auto text = ReadAll(events->get(), "cgroup.events");
    if (text.ok() && absl::StrContains(*text, "populated 1")) watched.fd = events->get();
  }
  poll(&watched, 1, wait_ms);
}

}  // namespace

CgroupLayout CgroupHost::layout() const {
  if (unified_mount.empty()) return CgroupLayout::kLegacy;
  const bool controllers = std::any_of(v1_mounts.begin(), v1_mounts.end(), [](const auto& mount) {
    return !absl::StartsWith(mount.first, "name=");
  });
  return controllers ? CgroupLayout::kHybrid : CgroupLayout::kUnified;
}

StatusOr<CgroupHost> ParseCgroupHost(absl::string_view mountinfo, absl::string_view proc_cgroups) {
  const std::set<std::string> controllers = ControllerNames(proc_cgroups);
  CgroupHost host;
  // The first mount of a hierarchy counts: later ones are usually binds of parts of it.
  for (const CgroupMount& mount : CgroupMounts(mountinfo)) {
    if (mount.type == "cgroup2") {
      if (host.unified_mount.empty()) host.unified_mount = mount.mount_point;
      continue;
    }
    for (const std::string& option : mount.super_options) {
      if (controllers.contains(option) || absl::StartsWith(option, "name="))
        host.v1_mounts.emplace(option, mount.mount_point);
    }
  }
  if (host.unified_mount.empty() && host.v1_mounts.empty())
    return absl::FailedPreconditionError("no cgroup file system is mounted");
  return host;
}

StatusOr<CgroupHost> DetectCgroupHost() {
  ASSIGN_OR_RETURN(const std::string mountinfo,
                   ReadFileAt(AT_FDCWD, "/proc/self/mountinfo", 64 << 20));
  // Absent on kernels built without v1.
  const auto controllers = ReadFileAt(AT_FDCWD, "/proc/cgroups");
  return ParseCgroupHost(mountinfo, controllers.ok() ? *controllers : "");
}

std::vector<std::string> CgroupPaths::V1Hierarchies() const {
  std::set<std::string> dirs;
  for (const auto& [controller, dir] : v1_dirs) dirs.insert(dir);
  return {dirs.begin(), dirs.end()};
}

const std::string& CgroupPaths::DirOf(absl::string_view controller) const {
  const auto found = v1_dirs.find(std::string(controller));
  return found == v1_dirs.end() ? unified_dir : found->second;
}

bool CgroupPaths::IsV1(absl::string_view controller) const {
  return v1_dirs.contains(std::string(controller));
}

std::string CgroupPaths::OomFile() const {
  if (IsV1("memory")) return DirOf("memory") + "/memory.oom_control";
  return unified_dir.empty() ? "" : unified_dir + "/memory.events";
}

StatusOr<CgroupPaths> CgroupPathsFor(const CgroupHost& host, absl::string_view path) {
  const absl::string_view relative = absl::StripPrefix(path, "/");
  const std::vector<absl::string_view> parts = absl::StrSplit(relative, '/');
  const bool strange = std::any_of(parts.begin(), parts.end(), [](absl::string_view part) {
    return part.empty() || part == "." || part == ".." || part.find('\0') != part.npos;
  });
  if (!absl::StartsWith(path, "/") || strange)
    return absl::InvalidArgumentError(absl::StrCat("\"", path, "\" is not a cgroup path"));
  CgroupPaths paths;
  if (!host.unified_mount.empty()) paths.unified_dir = absl::StrCat(host.unified_mount, path);
  for (const auto& [controller, mount] : host.v1_mounts)
    paths.v1_dirs.emplace(controller, absl::StrCat(mount, path));
  return paths;
}

Status CreateCgroup(const CgroupHost& host, absl::string_view path) {
  RETURN_IF_ERROR(CgroupPathsFor(host, path).status());
  std::vector<std::string> made;
  absl::Cleanup undo = [&made] {
    std::for_each(made.rbegin(), made.rend(), [](const std::string& dir) { rmdir(dir.c_str()); });
  };
  for (const Branch& branch : Branches(host)) RETURN_IF_ERROR(MakeBranch(branch, path, made));
  std::move(undo).Cancel();
  return absl::OkStatus();
}

StatusOr<CgroupPaths> CreateChildCgroup(const CgroupPaths& paths, absl::string_view name) {
  if (name.empty() || name == "." || name == ".." || absl::StrContains(name, "/"))
    return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is not a cgroup name"));
  CgroupPaths child = paths;
  std::map<std::string, std::string> dirs;  // parent → child
  if (!paths.unified_dir.empty()) absl::StrAppend(&child.unified_dir, "/", name);
  dirs[paths.unified_dir] = child.unified_dir;
  for (auto& [controller, dir] : child.v1_dirs) {
    const std::string parent = dir;
    absl::StrAppend(&dir, "/", name);
    dirs[parent] = dir;
  }
  dirs.erase("");
  absl::Cleanup undo = [&child] { RemoveCgroup(child).IgnoreError(); };
  for (const auto& [parent, dir] : dirs) {
    if (mkdir(dir.c_str(), 0755) != 0) return SyscallError("mkdir", dir);
    if (access((dir + "/cpuset.mems").c_str(), F_OK) == 0 && dir != child.unified_dir)
      RETURN_IF_ERROR(InheritCpuset(parent, dir));
  }
  std::move(undo).Cancel();
  return child;
}

Status RemoveCgroup(const CgroupPaths& paths, std::chrono::milliseconds patience) {
  const Clock::time_point deadline = Clock::now() + patience;
  while (true) {
    Status status = RemoveEverywhere(paths);
    if (status.ok() || ErrnoOf(status) != EBUSY || Clock::now() >= deadline) return status;
    AwaitChange(paths, deadline);
  }
}

}  // namespace gantry
