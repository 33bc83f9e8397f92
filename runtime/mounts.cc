#include "runtime/mounts.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "runtime/cgroup_mount.h"
#include "runtime/linux/file.h"
#include "runtime/linux/mount.h"
#include "runtime/linux/path_in_root.h"
#include "runtime/mount_options.h"

namespace gantry::runtime {
namespace {

// What runc lets be mounted inside of /proc: files that lxcfs serves. Anything else there would
// fool programs that take /proc for the kernel's word.
constexpr absl::string_view kAllowedInProc[] = {
    "/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg",
    "/proc/meminfo", "/proc/net/dev",   "/proc/slabinfo",
    "/proc/stat",    "/proc/swaps",     "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime"};

// "/a/b" for "a//b/". Dots are left: they are resolved inside of the root.
std::string Normalised(absl::string_view path) {
  std::string result;
  for (const char c : path) {
    if (c == '/' && (result.empty() || result.back() == '/')) {
      if (result.empty()) result.push_back(c);
      continue;
    }
    if (result.empty()) result.push_back('/');
    result.push_back(c);
  }
  while (result.size() > 1 && result.back() == '/') result.pop_back();
  return result;
}

Status CheckDestination(const std::string& path, const spec::Mount& mount, bool bind) {
  if (path.size() < 2) return absl::InvalidArgumentError("it would cover the root");
  if (path == "/proc") {
    if (!bind && mount.type == "proc") return absl::OkStatus();
    return absl::InvalidArgumentError("only proc can be mounted there");
  }
  if (!path.starts_with("/proc/")) return absl::OkStatus();
  for (const absl::string_view allowed : kAllowedInProc) {
    if (path == allowed) return absl::OkStatus();
  }
  return absl::InvalidArgumentError("nothing may be mounted inside of /proc");
}

// A link in the place of /proc, /sys or /dev would send what the runtime and the container trust to
// another directory (CVE-2019-19921, CVE-2023-27561, CVE-2026-47766).
bool MustBeRealDirectory(const std::string& path, const spec::Mount& mount) {
  return path == "/proc" || path == "/sys" || path == "/dev" || mount.type == "proc" ||
         mount.type == "sysfs";
}

StatusOr<UniqueFd> OpenRealDirectory(int root, const std::string& path) {
  constexpr int kRealDirectory = O_PATH | O_DIRECTORY | O_NOFOLLOW;
  StatusOr<UniqueFd> fd = OpenInRoot(root, path, kRealDirectory);
  if (ErrnoOf(fd.status()) == ENOENT) {
    ASSIGN_OR_RETURN(const NodeName node, EnsureParentInRoot(root, path));
    if (mkdirat(node.parent.get(), node.name.c_str(), 0755) != 0 && errno != EEXIST) {
      return SyscallError("mkdir", path);
    }
    fd = OpenAt(node.parent.get(), node.name, kRealDirectory);
  }
  if (ErrnoOf(fd.status()) == ENOTDIR || ErrnoOf(fd.status()) == ELOOP) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", path, "\" in the image is not a directory (a symbolic link is refused)"));
  }
  return fd;
}

Status ApplyAttributes(int tree, const MountPlan& plan, const std::string& name) {
  struct mount_attr top = {};
  struct mount_attr all = {};
  top.attr_set = plan.top.set;
  top.attr_clr = plan.top.clear;
  all.attr_set = plan.all.set;
  all.attr_clr = plan.all.clear;
  (plan.propagation_recursive ? all : top).propagation = plan.propagation;
  if (all.attr_set != 0 || all.attr_clr != 0 || all.propagation != 0) {
    RETURN_IF_ERROR(SetMountAttributes(tree, all, /*recursive=*/true, name));
  }
  if (top.attr_set != 0 || top.attr_clr != 0 || top.propagation != 0) {
    RETURN_IF_ERROR(SetMountAttributes(tree, top, /*recursive=*/false, name));
  }
  return absl::OkStatus();
}

bool FollowsHost(const MountPlan& plan) { return (plan.propagation & (MS_SLAVE | MS_SHARED)) != 0; }

// mount_setattr(2), MOUNT_ATTR_IDMAP: for a detached mount only.
Status MapOwners(int tree, const MountContext& context, const spec::Mount& mount,
                 const MountPlan& plan) {
  const auto found =
      context.id_map_namespaces.find(IdMapKey(mount.uid_mappings, mount.gid_mappings));
  if (found == context.id_map_namespaces.end()) {
    return absl::InternalError("no user namespace was made for its mappings");
  }
  struct mount_attr attributes = {};
  attributes.attr_set = MOUNT_ATTR_IDMAP;
  attributes.userns_fd = static_cast<uint64_t>(found->second.get());
  const Status mapped = SetMountAttributes(tree, attributes, plan.id_mapped_all, mount.source);
  if (ErrnoOf(mapped) != EINVAL) return mapped;
  return Annotate(mapped, "the file system, or one below it, cannot map owners (idmapped mounts)");
}

// On the host, and so as the host's root, whoever the container's is.
Status MakeSource(const IdMaps& maps, const std::string& path) {
  if (maps.empty()) return MakeDirectories(AT_FDCWD, path, 0755).status();
  ASSIGN_OR_RETURN(const HostOwner root, HostRoot(maps));
  RETURN_IF_ERROR(MakeFilesAs({0, 0}));
  const Status made = MakeDirectories(AT_FDCWD, path, 0755).status();
  RETURN_IF_ERROR(MakeFilesAs(root));
  return made;
}

StatusOr<UniqueFd> CloneSource(const MountContext& context, const spec::Mount& mount,
                               const MountPlan& plan) {
  StatusOr<UniqueFd> tree = CloneTree(AT_FDCWD, mount.source, plan.recursive);
  if (!plan.make_source || ErrnoOf(tree.status()) != ENOENT) return tree;
  RETURN_IF_ERROR(MakeSource(context.id_maps, mount.source));
  return CloneTree(AT_FDCWD, mount.source, plan.recursive);
}

// The source as a mount to be moved in place. A detached copy misses what the host mounts below the
// source before it is attached: where that matters, the copy is attached from birth, for a moment
// over the root, which is ours alone.
StatusOr<UniqueFd> OpenSource(const MountContext& context, const spec::Mount& mount,
                              const MountPlan& plan) {
  if (const auto ready = context.ready_mounts.find(mount.destination);
      ready != context.ready_mounts.end()) {
    UniqueFd copy(fcntl(ready->second, F_DUPFD_CLOEXEC, 3));
    return copy.valid() ? StatusOr<UniqueFd>(std::move(copy)) : SyscallError("dup", mount.source);
  }
  if (mount.source.empty()) return absl::InvalidArgumentError("a bind mount without a source");
  ASSIGN_OR_RETURN_CONTEXT(UniqueFd tree, CloneSource(context, mount, plan),
                           absl::StrCat("source \"", mount.source, "\""));
  if (plan.id_mapped) {
    // Only what has never been attached can be idmapped: here the gap stays open.
    RETURN_IF_ERROR(MapOwners(tree.get(), context, mount, plan));
    return tree;
  }
  if (!FollowsHost(plan)) return tree;
  struct stat info;
  if (fstat(tree.get(), &info) != 0) return SyscallError("stat", mount.source);
  if (!S_ISDIR(info.st_mode)) return tree;
  const unsigned long flags = MS_BIND | (plan.recursive ? MS_REC : 0);
  const std::string& place = context.root.mount_point;
  RETURN_IF_ERROR(Mount(mount.source, place, "", flags));
  return OpenAt(AT_FDCWD, place, O_PATH | O_DIRECTORY);
}

StatusOr<UniqueFd> OpenBindTarget(int root, const std::string& path, const spec::Mount& mount,
                                  int tree) {
  if (MustBeRealDirectory(path, mount)) return OpenRealDirectory(root, path);
  StatusOr<UniqueFd> there = OpenInRoot(root, path, O_PATH);
  if (ErrnoOf(there.status()) != ENOENT) return there;
  struct stat info;
  if (fstat(tree, &info) != 0) return SyscallError("stat", mount.source);
  return EnsureInRoot(root, path, S_ISDIR(info.st_mode) ? NodeKind::kDirectory : NodeKind::kFile);
}

Status MakeBind(const MountContext& context, const spec::Mount& mount, const MountPlan& plan,
                const std::string& path) {
  ASSIGN_OR_RETURN(UniqueFd tree, OpenSource(context, mount, plan));
  RETURN_IF_ERROR(ApplyAttributes(tree.get(), plan, mount.source));
  ASSIGN_OR_RETURN(UniqueFd target, OpenBindTarget(context.root.fd.get(), path, mount, tree.get()));
  RETURN_IF_ERROR(MoveMount(tree.get(), target.get(), absl::StrCat("\"", mount.source, "\"")));
  context.bin.Add(std::move(tree));
  context.bin.Add(std::move(target));
  return absl::OkStatus();
}

// mount(2) does in one call what takes ten with descriptors, where it can say what is wanted. Its
// MS_RDONLY makes the file system itself read-only, for every later mount of it, so that is not for
// it. False: it did not work out; the way by descriptors then works, or tells why not in the file
// system's own words.
bool MountInOneCall(int target, const spec::Mount& mount, const MountPlan& plan) {
  constexpr std::pair<uint64_t, unsigned long> kFlags[] = {
      {MOUNT_ATTR_NOSUID, MS_NOSUID},         {MOUNT_ATTR_NODEV, MS_NODEV},
      {MOUNT_ATTR_NOEXEC, MS_NOEXEC},         {MOUNT_ATTR_NOATIME, MS_NOATIME},
      {MOUNT_ATTR_NODIRATIME, MS_NODIRATIME}, {MOUNT_ATTR_STRICTATIME, MS_STRICTATIME},
  };
  uint64_t left = plan.top.set | plan.all.set;
  unsigned long flags = 0;
  for (const auto& [attribute, flag] : kFlags) {
    if ((left & attribute) != 0) flags |= flag;
    left &= ~attribute;
  }
  if (left != 0 || plan.propagation != 0) return false;
  std::string data;
  for (const auto& [key, value] : plan.data) {
    if (value.find(',') != std::string::npos) return false;
    absl::StrAppend(&data, data.empty() ? "" : ",", key, value.empty() ? "" : "=", value);
  }
  return Mount(mount.source, FdPath(target), mount.type, flags, data).ok();
}

Status MountOn(int target, const MountContext& context, const spec::Mount& mount,
               const MountPlan& plan) {
  if (mount.type == "cgroup" || mount.type == "cgroup2") {
    return MountCgroups(target, plan, context.cgroup_namespace);
  }
  if (mount.type.empty()) return absl::InvalidArgumentError("it has neither a type nor \"bind\"");
  if (MountInOneCall(target, mount, plan)) return absl::OkStatus();
  ASSIGN_OR_RETURN(UniqueFd tree, NewMount(mount.type, mount.source, plan.data,
                                           static_cast<unsigned>(plan.top.set | plan.all.set)));
  if (plan.propagation != 0) {
    MountPlan only_propagation;
    only_propagation.propagation = plan.propagation;
    RETURN_IF_ERROR(ApplyAttributes(tree.get(), only_propagation, mount.type));
  }
  RETURN_IF_ERROR(MoveMount(tree.get(), target, mount.type));
  context.bin.Add(std::move(tree));
  return absl::OkStatus();
}

Status MakeFileSystem(const MountContext& context, const spec::Mount& mount, const MountPlan& plan,
                      const std::string& path) {
  const int root = context.root.fd.get();
  ASSIGN_OR_RETURN(UniqueFd target, MustBeRealDirectory(path, mount)
                                        ? OpenRealDirectory(root, path)
                                        : EnsureInRoot(root, path, NodeKind::kDirectory));
  RETURN_IF_ERROR(MountOn(target.get(), context, mount, plan));
  context.bin.Add(std::move(target));
  return absl::OkStatus();
}

// devpts and tmpfs take the ids of owners as the mounting process sees them, and that is the host.
Status MapOwnerOptions(const IdMaps& maps, MountPlan* plan) {
  if (maps.empty() || plan->bind) return absl::OkStatus();
  for (auto& [key, value] : plan->data) {
    uint32_t id = 0;
    if ((key != "uid" && key != "gid") || !absl::SimpleAtoi(value, &id)) continue;
    const auto host = HostId(key == "uid" ? maps.uids : maps.gids, id);
    if (!host.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat(key, "=", value, " is not mapped in the container's user namespace"));
    }
    value = absl::StrCat(*host);
  }
  return absl::OkStatus();
}

Status PlanAndMake(const MountContext& context, const spec::Mount& mount) {
  ASSIGN_OR_RETURN(MountPlan plan, PlanMount(mount));
  RETURN_IF_ERROR(MapOwnerOptions(context.id_maps, &plan));
  const std::string path = Normalised(mount.destination);
  RETURN_IF_ERROR(CheckDestination(path, mount, plan.bind));
  return plan.bind ? MakeBind(context, mount, plan, path)
                   : MakeFileSystem(context, mount, plan, path);
}

}  // namespace

Status MakeMount(const MountContext& context, const spec::Mount& mount) {
  const Status status = PlanAndMake(context, mount);
  if (status.ok()) return status;
  return Annotate(status, absl::StrCat("mount \"", mount.destination, "\""));
}

}  // namespace gantry::runtime
