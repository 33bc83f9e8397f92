#include "runtime/stdio.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"
#include "runtime/linux/mount.h"
#include "runtime/linux/path_in_root.h"

namespace gantry::runtime {
namespace {

bool IsNullDevice(const struct stat& info) {
  return S_ISCHR(info.st_mode) && info.st_rdev == makedev(1, 3);
}

StatusOr<UniqueFd> OpenOwnNull(int root_fd) {
  ASSIGN_OR_RETURN(UniqueFd null, OpenInRoot(root_fd, "dev/null", O_RDWR | O_NOCTTY | O_NONBLOCK));
  struct stat info;
  if (fstat(null.get(), &info) != 0) return SyscallError("stat", "/dev/null");
  if (!IsNullDevice(info)) return absl::InternalError("/dev/null is not the null device");
  return null;
}

// Puts `from` on `to`, where it outlives execve.
Status Place(int from, int to) {
  if (from == to) {
    if (fcntl(to, F_SETFD, 0) != 0) return SyscallError("keep descriptor", absl::StrCat(to));
  } else if (dup2(from, to) < 0) {
    return SyscallError("dup2", absl::StrCat(to));
  }
  return absl::OkStatus();
}

Status GiveTo(uid_t uid, int fd, const struct stat& info) {
  const bool reopened_through_proc = S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode);
  if (!reopened_through_proc || info.st_uid == uid) return absl::OkStatus();
  // Who has no right to (EPERM) has to live with it: the open descriptor works.
  if (fchown(fd, uid, static_cast<gid_t>(-1)) != 0 && errno != EPERM && errno != EROFS) {
    return SyscallError("chown", "stdio");
  }
  return absl::OkStatus();
}

}  // namespace

Status GiveStdio(std::span<const int, 3> stdio, uid_t uid) {
  for (const int fd : stdio) {
    struct stat info = {};
    if (fd < 0 || fstat(fd, &info) != 0) continue;
    RETURN_IF_ERROR(GiveTo(uid, fd, info));
  }
  return absl::OkStatus();
}

Status AttachStdio(std::span<const int, 3> stdio, uid_t uid, int root_fd) {
  UniqueFd null;
  UniqueFd moved[3];
  int sources[3];
  // None may lie at 2 or below when the first is placed: the given ones may be 0, 1 and 2 in
  // another order.
  for (size_t i = 0; i < 3; ++i) {
    struct stat info = {};
    const bool given = stdio[i] >= 0 && fstat(stdio[i], &info) == 0;
    int from = stdio[i];
    if (!given || IsNullDevice(info)) {
      if (!null.valid()) {
        StatusOr<UniqueFd> own = OpenOwnNull(root_fd);
        if (!own.ok() && !given) return Annotate(own.status(), "stdio");
        if (own.ok()) null = std::move(*own);
      }
      if (null.valid()) from = null.get();
    } else {
      RETURN_IF_ERROR(GiveTo(uid, from, info));
    }
    if (from <= STDERR_FILENO) {
      moved[i].Reset(fcntl(from, F_DUPFD_CLOEXEC, 3));
      if (!moved[i].valid()) return SyscallError("duplicate descriptor", "stdio");
      from = moved[i].get();
    }
    sources[i] = from;
  }
  for (int i = 0; i < 3; ++i) RETURN_IF_ERROR(Place(sources[i], i));
  return absl::OkStatus();
}

StatusOr<Terminal> OpenTerminal(int root_fd, const std::optional<spec::ConsoleSize>& size) {
  Terminal terminal;
  ASSIGN_OR_RETURN_CONTEXT(
      terminal.master, OpenInRoot(root_fd, "dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK), "terminal");
  struct statfs file_system;
  if (fstatfs(terminal.master.get(), &file_system) != 0) return SyscallError("statfs", "/dev/ptmx");
  if (file_system.f_type != DEVPTS_SUPER_MAGIC) {
    return absl::InternalError("terminal: /dev/ptmx does not lead to a devpts");
  }
  int unlock = 0;
  if (ioctl(terminal.master.get(), TIOCSPTLCK, &unlock) != 0) return SyscallError("unlock pty");
  terminal.slave.Reset(ioctl(terminal.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!terminal.slave.valid()) return SyscallError("open pty");
  // The master was opened not to block on something that is no pty; its reader decides for itself.
  if (fcntl(terminal.master.get(), F_SETFL, O_RDWR) != 0) return SyscallError("fcntl", "pty");
  if (size.has_value() && (size->height != 0 || size->width != 0)) {
    struct winsize window = {};
    window.ws_row = static_cast<unsigned short>(size->height);
    window.ws_col = static_cast<unsigned short>(size->width);
    if (ioctl(terminal.slave.get(), TIOCSWINSZ, &window) != 0) {
      return SyscallError("set terminal size");
    }
  }
  return terminal;
}

Status MountConsole(const Terminal& terminal, int root_fd) {
  ASSIGN_OR_RETURN(const UniqueFd dev,
                   OpenInRoot(root_fd, "dev", O_PATH | O_DIRECTORY | O_NOFOLLOW));
  const StatusOr<UniqueFd> made =
      OpenAt(dev.get(), "console", O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0666);
  if (!made.ok() && ErrnoOf(made.status()) != EEXIST) return made.status();
  ASSIGN_OR_RETURN(const UniqueFd target, OpenAt(dev.get(), "console", O_PATH | O_NOFOLLOW));
  ASSIGN_OR_RETURN_CONTEXT(const UniqueFd slave,
                           CloneTree(terminal.slave.get(), "", /*recursive=*/false), "console");
  return MoveMount(slave.get(), target.get(), "/dev/console");
}

Status AttachTerminal(const Terminal& terminal, uid_t uid) {
  const int slave = terminal.slave.get();
  if (fchown(slave, uid, static_cast<gid_t>(-1)) != 0 && errno != EPERM) {
    return SyscallError("chown", "terminal");
  }
  if (ioctl(slave, TIOCSCTTY, 0) != 0) return SyscallError("set controlling terminal");
  for (int i = 0; i < 3; ++i) RETURN_IF_ERROR(Place(slave, i));
  return absl::OkStatus();
}

}  // namespace gantry::runtime
