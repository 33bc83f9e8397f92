#include "cri/store/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

#include "runtime/linux/file.h"

namespace gantry::cri {
namespace {

constexpr mode_t kMode = 0711;

// " (pid 12)" from /proc/locks: "1: FLOCK  ADVISORY  WRITE 12 fe:00:1234 0 EOF". Empty when it does
// not tell (a holder in another PID namespace has pid 0).
std::string Holder(int fd) {
  struct stat info = {};
  const StatusOr<std::string> locks = ReadFileAt(AT_FDCWD, "/proc/locks");
  if (fstat(fd, &info) != 0 || !locks.ok()) return "";
  const std::string inode =
      absl::StrFormat("%02x:%02x:%u", major(info.st_dev), minor(info.st_dev), info.st_ino);
  for (absl::string_view line : absl::StrSplit(*locks, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (fields.size() < 6 || fields[1] != "FLOCK" || fields[5] != inode) continue;
    if (fields[4] != "0") return absl::StrCat(" (pid ", fields[4], ")");
  }
  return "";
}

}  // namespace

StatusOr<UniqueFd> LockDirectory(const std::string& path) {
  RETURN_IF_ERROR(MakeDirectories(AT_FDCWD, path, kMode).status());
  ASSIGN_OR_RETURN(UniqueFd fd, OpenAt(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
  int result = flock(fd.get(), LOCK_EX | LOCK_NB);
  while (result != 0 && errno == EINTR) result = flock(fd.get(), LOCK_EX | LOCK_NB);
  if (result == 0) return fd;
  if (errno != EWOULDBLOCK) return SyscallError("flock", path);
  return absl::FailedPreconditionError(
      absl::StrCat(path, " is in use by another gantryd", Holder(fd.get()),
                   "; stop that one, or use other folders (--root, --state)"));
}

}  // namespace gantry::cri
