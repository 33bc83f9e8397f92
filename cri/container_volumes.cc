#include "cri/container_volumes.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <memory>

#include "absl/strings/str_cat.h"

#include "runtime/linux/directory_stream.h"
#include "runtime/linux/file.h"
#include "runtime/linux/path_in_root.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::cri {
namespace {

constexpr int kDepthLimit = 256;

Status CopyOwnerAndTimes(int fd, const struct stat& info) {
  if (fchown(fd, info.st_uid, info.st_gid) != 0) return SyscallError("fchown");
  if (fchmod(fd, info.st_mode & 07777) != 0) return SyscallError("fchmod");
  const timespec times[2] = {info.st_atim, info.st_mtim};
  if (futimens(fd, times) != 0) return SyscallError("futimens");
  return absl::OkStatus();
}

Status CopyFile(int from_directory, int to_directory, const char* name, const struct stat& info) {
  ASSIGN_OR_RETURN(const UniqueFd from, OpenAt(from_directory, name, O_RDONLY | O_NOFOLLOW));
  ASSIGN_OR_RETURN(const UniqueFd to,
                   OpenAt(to_directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  while (true) {
    const ssize_t copied = sendfile(to.get(), from.get(), nullptr, 1 << 24);
    if (copied < 0) return SyscallError("sendfile", name);
    if (copied == 0) break;
  }
  return CopyOwnerAndTimes(to.get(), info);
}

Status CopyLink(int from_directory, int to_directory, const char* name, const struct stat& info) {
  char target[PATH_MAX];
  const ssize_t length = readlinkat(from_directory, name, target, sizeof target - 1);
  if (length < 0) return SyscallError("readlink", name);
  target[length] = '\0';
  if (symlinkat(target, to_directory, name) != 0) return SyscallError("symlink", name);
  if (fchownat(to_directory, name, info.st_uid, info.st_gid, AT_SYMLINK_NOFOLLOW) != 0)
    return SyscallError("fchown", name);
  return absl::OkStatus();
}

Status CopyTree(int from, int to, int depth);

Status CopyDirectory(int from_directory, int to_directory, const char* name,
                     const struct stat& info, int depth) {
  if (mkdirat(to_directory, name, 0700) != 0) return SyscallError("mkdir", name);
  ASSIGN_OR_RETURN(const UniqueFd from,
                   OpenAt(from_directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  ASSIGN_OR_RETURN(const UniqueFd to,
                   OpenAt(to_directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  RETURN_IF_ERROR(CopyTree(from.get(), to.get(), depth + 1));
  return CopyOwnerAndTimes(to.get(), info);
}

Status CopyEntry(int from, int to, const char* name, int depth) {
  struct stat info;
  if (fstatat(from, name, &info, AT_SYMLINK_NOFOLLOW) != 0) return SyscallError("stat", name);
  if (S_ISDIR(info.st_mode)) return CopyDirectory(from, to, name, info, depth);
  if (S_ISLNK(info.st_mode)) return CopyLink(from, to, name, info);
  if (S_ISREG(info.st_mode)) return CopyFile(from, to, name, info);
  return absl::OkStatus();  // devices, sockets and fifos of an image have no place in a volume
}

Status CopyTree(int from, int to, int depth) {
  if (depth > kDepthLimit) return absl::InvalidArgumentError("the tree is too deep");
  const int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return SyscallError("open", ".");
  const DirectoryStream entries(fdopendir(fd));
  if (entries == nullptr) return SyscallError("fdopendir");
  while (const dirent* entry = readdir(entries.get())) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    RETURN_IF_ERROR_CONTEXT(CopyEntry(from, to, name.c_str(), depth), name);
  }
  return absl::OkStatus();
}

Status FillVolume(int rootfs, const std::string& path, int to) {
  const auto from = OpenInRoot(rootfs, path, O_RDONLY | O_DIRECTORY);
  if (!from.ok()) return absl::OkStatus();  // the image does not have it, or as a file
  struct stat info;
  if (fstat(from->get(), &info) != 0) return SyscallError("stat", path);
  RETURN_IF_ERROR(CopyTree(from->get(), to, 0));
  return CopyOwnerAndTimes(to, info);
}

}  // namespace

StatusOr<std::vector<VolumeMount>> MakeImageVolumes(const std::vector<std::string>& paths,
                                                    int rootfs, const std::string& directory,
                                                    const runtime::HostOwner& root) {
  std::vector<VolumeMount> volumes;
  for (const std::string& path : paths) {
    if (path.empty() || path == "/")
      return absl::InvalidArgumentError(absl::StrCat("VOLUME \"", path, "\" is no place for one"));
    const std::string folder = absl::StrCat(directory, "/volumes/", volumes.size());
    RETURN_IF_ERROR(MakeDirectories(AT_FDCWD, folder, 0755).status());
    ASSIGN_OR_RETURN(const UniqueFd to, OpenAt(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY));
    if (fchown(to.get(), root.uid, root.gid) != 0) return SyscallError("fchown", folder);
    RETURN_IF_ERROR_CONTEXT(FillVolume(rootfs, path, to.get()), absl::StrCat("VOLUME ", path));
    volumes.push_back({path[0] == '/' ? path : "/" + path, folder});
  }
  return volumes;
}

}  // namespace gantry::cri
