#include "runtime/cgroup_mount.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "runtime/linux/file.h"
#include "runtime/linux/mount.h"

namespace gantry::runtime {
namespace {

struct Hierarchy {
  std::string name;  // "cpu,cpuacct", "name=systemd"; empty: cgroup v2
  std::string path;  // the caller's cgroup, from the root of its namespace
};

StatusOr<std::vector<Hierarchy>> ReadHierarchies() {
  ASSIGN_OR_RETURN(const std::string text, ReadFileAt(AT_FDCWD, "/proc/self/cgroup"));
  std::vector<Hierarchy> hierarchies;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) return absl::InternalError("/proc/self/cgroup: a strange line");
    hierarchies.push_back({fields[1], fields[2]});
  }
  return hierarchies;
}

StatusOr<UniqueFd> NewHierarchyMount(const Hierarchy& hierarchy, unsigned attributes) {
  if (hierarchy.name.empty()) return NewMount("cgroup2", "cgroup", {}, attributes);
  std::vector<MountOption> options;
  if (hierarchy.name.starts_with("name=")) {
    options = {{"none", ""}, {"name", hierarchy.name.substr(5)}};
  } else {
    for (const absl::string_view controller : absl::StrSplit(hierarchy.name, ',')) {
      options.emplace_back(std::string(controller), "");
    }
  }
  return NewMount("cgroup", "cgroup", options, attributes);
}

// Mounts one hierarchy on `target`.
Status MountHierarchy(int target, const Hierarchy& hierarchy, unsigned attributes,
                      bool own_namespace) {
  ASSIGN_OR_RETURN(const UniqueFd whole, NewHierarchyMount(hierarchy, attributes));
  RETURN_IF_ERROR(MoveMount(whole.get(), target, "cgroup"));
  if (own_namespace || hierarchy.path == "/") return absl::OkStatus();
  // The root shown is the host's: only the caller's own part of it may stay. A detached mount
  // cannot be cloned on kernels before 6.15, so the whole is attached first; nobody else is in this
  // namespace to see it.
  ASSIGN_OR_RETURN(const UniqueFd part,
                   CloneTree(whole.get(), absl::StrCat(".", hierarchy.path), /*recursive=*/false));
  RETURN_IF_ERROR(Unmount(FdPath(whole.get()), MNT_DETACH));
  return MoveMount(part.get(), target, "cgroup");
}

std::string DirectoryName(const Hierarchy& hierarchy) {
  if (hierarchy.name.empty()) return "unified";
  return hierarchy.name.starts_with("name=") ? hierarchy.name.substr(5) : hierarchy.name;
}

Status MountInDirectory(int parent, const Hierarchy& hierarchy, unsigned attributes,
                        bool own_namespace) {
  const std::string name = DirectoryName(hierarchy);
  if (mkdirat(parent, name.c_str(), 0755) != 0) return SyscallError("mkdir", name);
  ASSIGN_OR_RETURN(const UniqueFd target, OpenAt(parent, name, O_PATH | O_DIRECTORY));
  RETURN_IF_ERROR_CONTEXT(MountHierarchy(target.get(), hierarchy, attributes, own_namespace), name);
  if (name.find(',') == std::string::npos) return absl::OkStatus();
  const std::vector<std::string> controllers = absl::StrSplit(name, ',');
  for (const std::string& controller : controllers) {
    if (symlinkat(name.c_str(), parent, controller.c_str()) != 0) {
      return SyscallError("symlink", controller);
    }
  }
  return absl::OkStatus();
}

}  // namespace

Status MountCgroups(int target_fd, const MountPlan& plan, bool own_namespace) {
  ASSIGN_OR_RETURN(const std::vector<Hierarchy> hierarchies, ReadHierarchies());
  const auto attributes = static_cast<unsigned>(plan.top.set | plan.all.set);
  if (hierarchies.size() == 1 && hierarchies.front().name.empty()) {
    return MountHierarchy(target_fd, hierarchies.front(), attributes, own_namespace);
  }
  ASSIGN_OR_RETURN(const UniqueFd tmpfs,
                   NewMount("tmpfs", "tmpfs", {{"mode", "755"}, {"size", "64k"}},
                            attributes & ~static_cast<unsigned>(MOUNT_ATTR_RDONLY)));
  // Attached first: before 6.15 nothing can be mounted on a detached mount.
  RETURN_IF_ERROR(MoveMount(tmpfs.get(), target_fd, "tmpfs for cgroups"));
  for (const Hierarchy& hierarchy : hierarchies) {
    RETURN_IF_ERROR(MountInDirectory(tmpfs.get(), hierarchy, attributes, own_namespace));
  }
  if ((attributes & MOUNT_ATTR_RDONLY) == 0) return absl::OkStatus();
  struct mount_attr read_only = {};
  read_only.attr_set = MOUNT_ATTR_RDONLY;
  return SetMountAttributes(tmpfs.get(), read_only, /*recursive=*/false, "tmpfs for cgroups");
}

}  // namespace gantry::runtime
