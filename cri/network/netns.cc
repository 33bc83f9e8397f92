#include "cri/network/netns.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"
#include "runtime/linux/mount.h"

namespace gantry::cri {

Status PinNetns(int netns_fd, const std::string& path) {
  const std::string folder = path.substr(0, path.rfind('/'));
  RETURN_IF_ERROR(MakeDirectories(AT_FDCWD, folder, 0711).status());
  // O_EXCL: mounting on top of another pod's pin would hide it.
  RETURN_IF_ERROR(OpenAt(AT_FDCWD, path, O_RDONLY | O_CREAT | O_EXCL, 0444).status());
  const Status mounted = Mount(FdPath(netns_fd), path, "", MS_BIND);
  if (mounted.ok()) return absl::OkStatus();
  unlink(path.c_str());
  return Annotate(mounted, "pin the network namespace");
}

Status UnpinNetns(const std::string& path) {
  // Until there is none left: a restart in the middle of a pin may have doubled it. EINVAL: no
  // mount.
  while (IsPinnedNetns(path)) {
    RETURN_IF_ERROR(Unmount(path, MNT_DETACH | UMOUNT_NOFOLLOW));
  }
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return SyscallError("unlink", path);
}

bool IsPinnedNetns(const std::string& path) {
  struct statfs info = {};
  return statfs(path.c_str(), &info) == 0 && info.f_type == NSFS_MAGIC;
}

}  // namespace gantry::cri
