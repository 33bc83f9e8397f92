#include "runtime/linux/mount.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace gantry {
namespace {

const char* OrNull(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

// The failure of a call on an fsopen descriptor, with the kernel's own words for it ("e overlay:
// …") when there are any.
Status FileSystemError(absl::string_view call, const std::string& type, int fs) {
  const int error = errno;
  Status status = SyscallError(call, type, error);
  char line[256];
  const ssize_t size = read(fs, line, sizeof line);
  if (size <= 2) return status;
  absl::string_view words(line + 2, static_cast<size_t>(size - 2));
  while (!words.empty() && words.back() == '\n') words.remove_suffix(1);
  return SyscallError(call, absl::StrCat(type, " (", words, ")"), error);
}

}  // namespace

Status Mount(const std::string& source, const std::string& target, const std::string& type,
             unsigned long flags, const std::string& data) {
  if (mount(OrNull(source), target.c_str(), OrNull(type), flags, OrNull(data)) == 0) {
    return absl::OkStatus();
  }
  const int error = errno;
  return SyscallError(
      "mount", source.empty() ? target : absl::StrCat("\"", source, "\" on ", target), error);
}

Status Unmount(const std::string& target, int flags) {
  if (umount2(target.c_str(), flags) != 0) return SyscallError("unmount", target);
  return absl::OkStatus();
}

StatusOr<UniqueFd> NewMount(const std::string& type, const std::string& source,
                            const std::vector<MountOption>& options, unsigned attributes) {
  UniqueFd fs(fsopen(type.c_str(), FSOPEN_CLOEXEC));
  if (!fs.valid()) return SyscallError("fsopen", type);
  if (!source.empty() &&
      fsconfig(fs.get(), FSCONFIG_SET_STRING, "source", source.c_str(), 0) != 0) {
    return FileSystemError("fsconfig source of", type, fs.get());
  }
  for (const auto& [key, value] : options) {
    const auto command = value.empty() ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING;
    if (fsconfig(fs.get(), command, key.c_str(), OrNull(value), 0) != 0) {
      const Status status = FileSystemError("fsconfig", type, fs.get());
      return Annotate(status, absl::StrCat("option \"", key, "\""));
    }
  }
  if (fsconfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return FileSystemError("mount", type, fs.get());
  }
  UniqueFd mount_fd(fsmount(fs.get(), FSMOUNT_CLOEXEC, attributes));
  if (!mount_fd.valid()) return FileSystemError("fsmount", type, fs.get());
  return mount_fd;
}

StatusOr<UniqueFd> CloneTree(int dirfd, const std::string& path, bool recursive) {
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
  if (recursive) flags |= AT_RECURSIVE;
  if (path.empty()) flags |= AT_EMPTY_PATH;
  UniqueFd tree(open_tree(dirfd, path.c_str(), flags));
  if (!tree.valid()) return SyscallError("open_tree", path);
  return tree;
}

Status MoveMount(int mount_fd, int target_fd, absl::string_view name) {
  if (move_mount(mount_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) !=
      0) {
    return SyscallError("move_mount", name);
  }
  return absl::OkStatus();
}

Status SetMountAttributes(int mount_fd, const struct mount_attr& attributes, bool recursive,
                          absl::string_view name) {
  struct mount_attr copy = attributes;
  const unsigned flags = AT_EMPTY_PATH | (recursive ? static_cast<unsigned>(AT_RECURSIVE) : 0U);
  if (mount_setattr(mount_fd, "", flags, &copy, sizeof copy) != 0) {
    return SyscallError("mount_setattr", name);
  }
  return absl::OkStatus();
}

Status SetMountAttributesAt(const std::string& path, const struct mount_attr& attributes,
                            bool recursive) {
  struct mount_attr copy = attributes;
  const unsigned flags = recursive ? static_cast<unsigned>(AT_RECURSIVE) : 0U;
  if (mount_setattr(AT_FDCWD, path.c_str(), flags, &copy, sizeof copy) != 0) {
    return SyscallError("mount_setattr", path);
  }
  return absl::OkStatus();
}

Status PivotRoot(const std::string& new_root, const std::string& put_old) {
  if (syscall(SYS_pivot_root, new_root.c_str(), put_old.c_str()) != 0) {
    return SyscallError("pivot_root", new_root);
  }
  return absl::OkStatus();
}

}  // namespace gantry
