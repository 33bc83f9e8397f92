// Small files by descriptor: open, read whole, write whole, make directories.
//
// Paths are relative to `dirfd` (AT_FDCWD: the working directory) and follow symbolic links as the
// kernel does: for paths below a root file system that somebody else wrote, use path_in_root.h.
// Descriptors are close-on-exec.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <string>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry {

// openat(2) with O_CLOEXEC, again after EINTR. On failure SyscallError("open", path).
StatusOr<UniqueFd> OpenAt(int dirfd, const std::string& path, int flags, mode_t mode = 0);

// The whole file. kOutOfRange when it is longer than `limit` bytes.
StatusOr<std::string> ReadFileAt(int dirfd, const std::string& path, size_t limit = 1 << 20);

// As ReadFileAt, from the current offset of an open descriptor; `name` is for the message.
StatusOr<std::string> ReadAll(int fd, absl::string_view name, size_t limit = 1 << 20);

// Writes `data` with a single write(2) to an existing file: what procfs and cgroup files want.
Status WriteFileAt(int dirfd, const std::string& path, absl::string_view data);

// Creates or truncates the file, then writes all of `data`. Not atomic.
Status CreateFileAt(int dirfd, const std::string& path, absl::string_view data, mode_t mode);

// Writes all of `data`, in as many write(2) calls as it takes. `name` is for the message.
Status WriteAll(int fd, absl::string_view data, absl::string_view name);

// mkdir -p. What is there already keeps its mode; what is new gets `mode`, less the umask. Returns
// an O_PATH descriptor of the last directory.
StatusOr<UniqueFd> MakeDirectories(int dirfd, const std::string& path, mode_t mode);

// "/proc/self/fd/N": the name under which path-taking calls reach an open descriptor.
std::string FdPath(int fd);

}  // namespace gantry
