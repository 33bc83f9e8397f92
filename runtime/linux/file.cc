#include "runtime/linux/file.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace gantry {

StatusOr<UniqueFd> OpenAt(int dirfd, const std::string& path, int flags, mode_t mode) {
  int fd = -1;
  do {
    fd = openat(dirfd, path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return SyscallError("open", path);
  return UniqueFd(fd);
}

StatusOr<std::string> ReadAll(int fd, absl::string_view name, size_t limit) {
  std::string text;
  size_t used = 0;
  // The sizes that procfs and cgroupfs report are no use: read until the end.
  while (true) {
    text.resize(std::min(std::max<size_t>(used * 2, 4096), limit + 1));
    const ssize_t got = read(fd, text.data() + used, text.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SyscallError("read", name);
    used += static_cast<size_t>(got);
    if (got == 0) break;
    if (used > limit) {
      return absl::OutOfRangeError(absl::StrCat("read ", name, ": longer than ", limit, " bytes"));
    }
  }
  text.resize(used);
  return text;
}

StatusOr<std::string> ReadFileAt(int dirfd, const std::string& path, size_t limit) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenAt(dirfd, path, O_RDONLY));
  return ReadAll(fd.get(), path, limit);
}

Status WriteFileAt(int dirfd, const std::string& path, absl::string_view data) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenAt(dirfd, path, O_WRONLY));
  ssize_t written = -1;
  do {
    written = write(fd.get(), data.data(), data.size());
  } while (written < 0 && errno == EINTR);
  if (written < 0) return SyscallError("write", path);
  if (static_cast<size_t>(written) != data.size()) {
    return absl::DataLossError(
        absl::StrCat("write ", path, ": only ", written, " of ", data.size(), " bytes"));
  }
  return absl::OkStatus();
}

Status WriteAll(int fd, absl::string_view data, absl::string_view name) {
  while (!data.empty()) {
    const ssize_t written = write(fd, data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return SyscallError("write", name);
    data.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

Status CreateFileAt(int dirfd, const std::string& path, absl::string_view data, mode_t mode) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenAt(dirfd, path, O_WRONLY | O_CREAT | O_TRUNC, mode));
  return WriteAll(fd.get(), data, path);
}

StatusOr<UniqueFd> MakeDirectories(int dirfd, const std::string& path, mode_t mode) {
  StatusOr<UniqueFd> there = OpenAt(dirfd, path, O_PATH | O_DIRECTORY);
  if (there.ok() || ErrnoOf(there.status()) != ENOENT) return there;
  ASSIGN_OR_RETURN(UniqueFd at,
                   OpenAt(dirfd, absl::StartsWith(path, "/") ? "/" : ".", O_PATH | O_DIRECTORY));
  const std::vector<std::string> parts = absl::StrSplit(path, '/', absl::SkipEmpty());
  for (const std::string& part : parts) {
    if (mkdirat(at.get(), part.c_str(), mode) != 0 && errno != EEXIST) {
      return SyscallError("mkdir", path);
    }
    ASSIGN_OR_RETURN_CONTEXT(at, OpenAt(at.get(), part, O_PATH | O_DIRECTORY), path);
  }
  return at;
}

std::string FdPath(int fd) { return absl::StrCat("/proc/self/fd/", fd); }

}  // namespace gantry
