#include "imageservice/workshop_namespace.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"
#include "runtime/linux/mount.h"
#include "runtime/linux/namespace.h"

namespace gantry::images {
namespace {

std::string PinOf(const std::string& directory) { return absl::StrCat(directory, "/mnt"); }

// umount2(2), until nothing is mounted there.
Status UnmountAll(const std::string& path) {
  while (true) {
    const Status status = Unmount(path, MNT_DETACH | UMOUNT_NOFOLLOW);
    if (status.ok()) continue;
    const int error = ErrnoOf(status);
    return error == EINVAL || error == ENOENT ? absl::OkStatus() : status;
  }
}

}  // namespace

StatusOr<UniqueFd> EnterNewWorkshop(const std::string& root) {
  RETURN_IF_ERROR(Unshare(CLONE_NEWNS));
  // Slave, not private, for as long as the host's mounts are in here: what the host unmounts must
  // go.
  RETURN_IF_ERROR(Mount("", "/", "", MS_REC | MS_SLAVE));
  ASSIGN_OR_RETURN(UniqueFd entered, OpenAt(AT_FDCWD, "/proc/thread-self/ns/mnt", O_RDONLY));
  RETURN_IF_ERROR(Mount(root, root, "", MS_BIND | MS_REC));
  RETURN_IF_ERROR(Mount("", root, "", MS_REC | MS_PRIVATE));
  if (chdir(root.c_str()) != 0) return SyscallError("chdir", root);
  if (Status pivoted = PivotRoot(".", "."); !pivoted.ok()) {
    // The root of an initramfs cannot be pivoted away: stay below it, by the working directory.
    if (ErrnoOf(pivoted) == EINVAL) return entered;
    return pivoted;
  }
  RETURN_IF_ERROR(Unmount(".", MNT_DETACH));
  if (chdir("/") != 0) return SyscallError("chdir", "/");
  return entered;
}

Status EnterWorkshop(int mount_namespace, const std::string& root) {
  struct stat ours, theirs;
  if (stat(root.c_str(), &ours) != 0) return SyscallError("stat", root);
  RETURN_IF_ERROR(Unshare(CLONE_FS));  // setns(2) refuses while the working directory is shared
  RETURN_IF_ERROR(JoinNamespace(mount_namespace, CLONE_NEWNS, "the workshop"));
  if (stat(".", &theirs) != 0) return SyscallError("stat", ".");
  if (ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino) return absl::OkStatus();
  // Without a pivot the namespace's root is the host's.
  if (chdir(root.c_str()) != 0 || stat(".", &theirs) != 0 || ours.st_dev != theirs.st_dev ||
      ours.st_ino != theirs.st_ino) {
    return absl::FailedPreconditionError(absl::StrCat("a workshop of another folder than ", root));
  }
  return absl::OkStatus();
}

Status PinWorkshop(int mount_namespace, const std::string& directory) {
  ASSIGN_OR_RETURN(UniqueFd made, MakeDirectories(AT_FDCWD, directory, 0700));
  made.Reset();
  RETURN_IF_ERROR(UnpinWorkshop(directory));
  // Private, because the file of a mount namespace cannot be mounted where it would be copied into
  // other namespaces (copy_tree in fs/namespace.c refuses with EINVAL).
  RETURN_IF_ERROR(Mount(directory, directory, "", MS_BIND));
  RETURN_IF_ERROR(Mount("", directory, "", MS_PRIVATE));
  const std::string pin = PinOf(directory);
  RETURN_IF_ERROR(CreateFileAt(AT_FDCWD, pin, "", 0400));
  return Mount(absl::StrCat("/proc/self/fd/", mount_namespace), pin, "", MS_BIND);
}

StatusOr<UniqueFd> OpenPinnedWorkshop(const std::string& directory) {
  const std::string pin = PinOf(directory);
  StatusOr<UniqueFd> pinned = OpenAt(AT_FDCWD, pin, O_RDONLY | O_NOFOLLOW);
  if (ErrnoOf(pinned.status()) == ENOENT) return absl::NotFoundError(pin);
  RETURN_IF_ERROR(pinned.status());
  struct statfs fs;
  if (fstatfs(pinned->get(), &fs) != 0) return SyscallError("fstatfs", pin);
  if (fs.f_type != NSFS_MAGIC) return absl::NotFoundError(pin);
  return pinned;
}

Status UnpinWorkshop(const std::string& directory) {
  RETURN_IF_ERROR(UnmountAll(PinOf(directory)));
  RETURN_IF_ERROR(UnmountAll(directory));
  if (unlink(PinOf(directory).c_str()) != 0 && errno != ENOENT) {
    return SyscallError("unlink", PinOf(directory));
  }
  return absl::OkStatus();
}

}  // namespace gantry::images
