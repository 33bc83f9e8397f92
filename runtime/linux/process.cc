#include "runtime/linux/process.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"

namespace gantry {
namespace {

// clone(2) has room for the lower 32 bits only; what is lost there (CLONE_CLEAR_SIGHAND) is
// hygiene. Its arguments come in another order on s390 and cris only.
long LegacyClone(uint64_t flags, int* pidfd) {
  return syscall(SYS_clone, (flags & 0xffffffffU) | CLONE_PIDFD | SIGCHLD, nullptr, pidfd, nullptr,
                 nullptr);
}

StatusOr<ClonedProcess> CloneThenPlace(const CloneRequest& request) {
  int pidfd = -1;
  const long pid = LegacyClone(request.flags, &pidfd);
  if (pid < 0) return SyscallError("clone");
  ClonedProcess process{static_cast<pid_t>(pid), UniqueFd(pid == 0 ? -1 : pidfd)};
  if (pid == 0 || request.cgroup_fd < 0) return process;
  Status placed = WriteFileAt(request.cgroup_fd, "cgroup.procs", absl::StrCat(pid));
  if (placed.ok()) return process;
  kill(process.pid, SIGKILL);
  (void)WaitPidFd(process.pidfd.get(), /*block=*/true);
  return Annotate(placed, "enter the cgroup");
}

// A number of /proc/PID/stat, by the count of proc(5).
StatusOr<uint64_t> StatField(const std::string& path, size_t number) {
  ASSIGN_OR_RETURN(const std::string text, ReadFileAt(AT_FDCWD, path));
  // The name (field 2) may hold anything, ") " included: count from the last parenthesis, after
  // which field 3 comes.
  const size_t end_of_name = text.rfind(')');
  if (end_of_name == std::string::npos) return absl::InternalError(absl::StrCat(path, ": no name"));
  const std::vector<std::string> fields =
      absl::StrSplit(text.substr(end_of_name + 1), ' ', absl::SkipEmpty());
  uint64_t value = 0;
  if (fields.size() <= number - 3 || !absl::SimpleAtoi(fields[number - 3], &value)) {
    return absl::InternalError(absl::StrCat(path, ": no field ", number));
  }
  return value;
}

}  // namespace

StatusOr<ClonedProcess> Clone(const CloneRequest& request) {
  int pidfd = -1;
  struct clone_args args = {};
  args.flags = request.flags | CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  // With CLONE_PARENT the kernel wants none: the child signals as its sibling, the caller, does.
  args.exit_signal = (request.flags & CLONE_PARENT) != 0 ? 0 : SIGCHLD;
  if (request.cgroup_fd >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<uint64_t>(request.cgroup_fd);
  }
  const long pid = syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0 && errno == ENOSYS) return CloneThenPlace(request);
  if (pid < 0) return SyscallError("clone", request.cgroup_fd >= 0 ? "into the cgroup" : "");
  return ClonedProcess{static_cast<pid_t>(pid), UniqueFd(pid == 0 ? -1 : pidfd)};
}

StatusOr<uint64_t> ProcessStartTime(pid_t pid) {
  return StatField(absl::StrCat("/proc/", pid, "/stat"), 22);
}

StatusOr<uint64_t> IgnoredSignals() { return StatField("/proc/self/stat", 33); }

Status CloseFdsExcept(std::vector<int> keep) {
  std::sort(keep.begin(), keep.end());
  unsigned first = STDERR_FILENO + 1;
  for (const int fd : keep) {
    if (fd < static_cast<int>(first)) continue;
    const auto kept = static_cast<unsigned>(fd);
    if (kept > first && close_range(first, kept - 1, 0) != 0) return SyscallError("close_range");
    first = kept + 1;
  }
  if (close_range(first, ~0U, 0) != 0) return SyscallError("close_range");
  return absl::OkStatus();
}

void SetProcessTitle(int argc, char** argv, absl::string_view title) {
  prctl(PR_SET_NAME, std::string(title.substr(0, 15)).c_str());
  if (argc < 1) return;
  char* end = argv[0];
  for (int i = 0; i < argc && argv[i] == end; ++i) end += strlen(argv[i]) + 1;
  const size_t room = static_cast<size_t>(end - argv[0]);
  memset(argv[0], 0, room);
  memcpy(argv[0], title.data(), std::min(title.size(), room - 1));
}

}  // namespace gantry
