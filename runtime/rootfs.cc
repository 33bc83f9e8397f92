#include "runtime/rootfs.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"
#include "runtime/linux/mount.h"
#include "runtime/mount_options.h"

namespace gantry::runtime {
namespace {

// What the spec says of the host's mounts in the new namespace. Slave unless it says otherwise:
// binds can then follow the host ("rslave" volumes), and nothing that we mount gets out.
StatusOr<unsigned long> NamespacePropagation(const spec::Spec& spec) {
  if (spec.linux_.rootfs_propagation.empty()) return static_cast<unsigned long>(MS_SLAVE | MS_REC);
  ASSIGN_OR_RETURN_CONTEXT(const unsigned long flags,
                           PropagationFlags(spec.linux_.rootfs_propagation), "rootfsPropagation");
  return (flags & MS_UNBINDABLE) != 0 ? static_cast<unsigned long>(MS_SLAVE | MS_REC)
                                      : flags | MS_REC;
}

// With shared mounts the root's mount would appear on the host, and pivot_root would refuse
// (EINVAL): the mount that holds the mount point becomes private. Which one that is, only trying
// tells without reading the mount table.
Status MakeParentPrivate(std::string path) {
  const struct mount_attr make_private = {
      .attr_set = 0, .attr_clr = 0, .propagation = MS_PRIVATE, .userns_fd = 0};
  while (true) {
    const Status status = SetMountAttributesAt(path, make_private, /*recursive=*/false);
    if (status.ok() || ErrnoOf(status) != EINVAL || path == "/") return status;
    const size_t slash = path.rfind('/');
    path = slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
  }
}

}  // namespace

StatusOr<AttachedRoot> AttachRoot(const spec::Spec& spec, int rootfs_fd,
                                  const std::string& mount_point) {
  ASSIGN_OR_RETURN(const unsigned long propagation, NamespacePropagation(spec));
  RETURN_IF_ERROR(Mount("", "/", "", propagation));
  AttachedRoot root;
  root.mount_point = mount_point.empty() ? spec.root.path : mount_point;
  root.shared = (propagation & MS_SHARED) != 0;
  if (root.shared) RETURN_IF_ERROR(MakeParentPrivate(root.mount_point));
  if (rootfs_fd >= 0) {
    const int copy = fcntl(rootfs_fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) return SyscallError("duplicate descriptor", "rootfs");
    root.fd.Reset(copy);
  } else {
    ASSIGN_OR_RETURN_CONTEXT(root.fd, CloneTree(AT_FDCWD, spec.root.path, /*recursive=*/true),
                             absl::StrCat("rootfs \"", spec.root.path, "\""));
  }
  // pivot_root refuses a shared root. Slave where the spec wants the root to follow its origin,
  // else private.
  const bool follows = rootfs_fd < 0 && (propagation & (MS_SLAVE | MS_SHARED)) != 0 &&
                       !spec.linux_.rootfs_propagation.empty();
  const struct mount_attr attributes = {
      .attr_set = 0,
      .attr_clr = 0,
      .propagation = static_cast<uint64_t>(follows ? MS_SLAVE : MS_PRIVATE),
      .userns_fd = 0};
  RETURN_IF_ERROR(SetMountAttributes(root.fd.get(), attributes, /*recursive=*/true, "rootfs"));
  ASSIGN_OR_RETURN_CONTEXT(const UniqueFd target,
                           OpenAt(AT_FDCWD, root.mount_point, O_PATH | O_DIRECTORY),
                           "mount point of the rootfs");
  RETURN_IF_ERROR(
      MoveMount(root.fd.get(), target.get(), absl::StrCat("rootfs on ", root.mount_point)));
  return root;
}

Status PivotInto(int root_fd, bool shared) {
  UniqueFd old_root;
  if (shared) {
    ASSIGN_OR_RETURN(old_root, OpenAt(AT_FDCWD, "/", O_PATH | O_DIRECTORY));
  }
  if (fchdir(root_fd) != 0) return SyscallError("fchdir", "rootfs");
  // "." for both: the old root ends up on top of the new one, and needs no directory in the image.
  RETURN_IF_ERROR_CONTEXT(PivotRoot(".", "."), "enter the rootfs");
  // Unmounting shared mounts here would unmount them on the host.
  if (shared) {
    struct mount_attr slave = {};
    slave.propagation = MS_SLAVE;
    RETURN_IF_ERROR(SetMountAttributes(old_root.get(), slave, /*recursive=*/true, "old root"));
  }
  RETURN_IF_ERROR(Unmount(".", MNT_DETACH));
  if (chdir("/") != 0) return SyscallError("chdir", "/");
  return absl::OkStatus();
}

Status SealRoot(const spec::Spec& spec, int root_fd) {
  struct mount_attr attributes = {};
  if (spec.root.readonly) attributes.attr_set = MOUNT_ATTR_RDONLY;
  const std::string& propagation = spec.linux_.rootfs_propagation;
  if (propagation.ends_with("shared")) attributes.propagation = MS_SHARED;
  if (propagation.ends_with("unbindable")) attributes.propagation = MS_UNBINDABLE;
  if (attributes.attr_set == 0 && attributes.propagation == 0) return absl::OkStatus();
  return SetMountAttributes(root_fd, attributes, /*recursive=*/false, "rootfs");
}

}  // namespace gantry::runtime
