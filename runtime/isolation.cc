#include "runtime/isolation.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"
#include "runtime/linux/mount.h"
#include "runtime/linux/path_in_root.h"

namespace gantry::runtime {
namespace {

Status MakeReadOnly(int tree, absl::string_view name, bool recursive) {
  struct mount_attr attributes = {};
  attributes.attr_set = MOUNT_ATTR_RDONLY;
  return SetMountAttributes(tree, attributes, recursive, name);
}

// Copies of one empty mount. The first is made; later ones are cloned from it where it lies, since
// a detached mount cannot be cloned before 6.15.
class Cover {
 public:
  explicit Cover(bool directory) : directory_(directory) {}

  Status Put(int target, const std::string& path, DescriptorBin& bin) {
    ASSIGN_OR_RETURN(UniqueFd tree,
                     first_.valid() ? CloneTree(first_.get(), "", false) : MakeFirst());
    RETURN_IF_ERROR(MoveMount(tree.get(), target, path));
    if (first_.valid()) {
      bin.Add(std::move(tree));
    } else {
      first_ = std::move(tree);
    }
    return absl::OkStatus();
  }

 private:
  StatusOr<UniqueFd> MakeFirst() const {
    if (directory_) {
      return NewMount("tmpfs", "tmpfs", {},
                      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    }
    // The host's own node, and really it: the container's /dev may be a volume that others write
    // (CVE-2025-31133).
    ASSIGN_OR_RETURN(UniqueFd null, CloneTree(AT_FDCWD, "/dev/null", /*recursive=*/false));
    struct stat info;
    if (fstat(null.get(), &info) != 0) return SyscallError("stat", "/dev/null");
    if (!S_ISCHR(info.st_mode) || info.st_rdev != makedev(1, 3)) {
      return absl::InternalError("/dev/null of the host is not the null device");
    }
    RETURN_IF_ERROR(MakeReadOnly(null.get(), "/dev/null", /*recursive=*/false));
    return null;
  }

  bool directory_;
  UniqueFd first_;
};

// An O_PATH descriptor; nothing when there is no such path.
StatusOr<std::optional<UniqueFd>> OpenIfThere(int root_fd, const std::string& path) {
  StatusOr<UniqueFd> fd = OpenInRoot(root_fd, path, O_PATH);
  if (fd.ok()) return std::optional<UniqueFd>(*std::move(fd));
  const int error = ErrnoOf(fd.status());
  if (error == ENOENT || error == ENOTDIR) return std::optional<UniqueFd>();
  return fd.status();
}

}  // namespace

Status MaskPaths(const std::vector<std::string>& paths, int root_fd, DescriptorBin& bin) {
  Cover empty_directory(/*directory=*/true);
  Cover null_device(/*directory=*/false);
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN_CONTEXT(auto target, OpenIfThere(root_fd, path), "mask");
    if (!target.has_value()) continue;
    struct stat info;
    if (fstat(target->get(), &info) != 0) return SyscallError("stat", path);
    Cover& cover = S_ISDIR(info.st_mode) ? empty_directory : null_device;
    RETURN_IF_ERROR_CONTEXT(cover.Put(target->get(), path, bin), "mask");
    bin.Add(*std::move(target));
  }
  return absl::OkStatus();
}

Status MakePathsReadOnly(const std::vector<std::string>& paths, int root_fd, DescriptorBin& bin) {
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN_CONTEXT(auto target, OpenIfThere(root_fd, path), "make read-only");
    if (!target.has_value()) continue;
    ASSIGN_OR_RETURN_CONTEXT(UniqueFd tree, CloneTree(target->get(), "", /*recursive=*/true),
                             absl::StrCat("make read-only ", path));
    RETURN_IF_ERROR(MakeReadOnly(tree.get(), path, /*recursive=*/true));
    RETURN_IF_ERROR_CONTEXT(MoveMount(tree.get(), target->get(), path), "make read-only");
    bin.Add(std::move(tree));
    bin.Add(*std::move(target));
  }
  return absl::OkStatus();
}

}  // namespace gantry::runtime
