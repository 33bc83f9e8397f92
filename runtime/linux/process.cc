#include "runtime/linux/process.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
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

// posix_spawn's own objects, freed on every path.
struct SpawnObjects {
  SpawnObjects() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnObjects() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnObjects(const SpawnObjects&) = delete;
  SpawnObjects& operator=(const SpawnObjects&) = delete;

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  std::vector<UniqueFd> moved;
};

// A descriptor that stands where another one is to be put would be overwritten before its turn: all
// are first duplicated above the highest target.
Status PlanDescriptors(const std::vector<InheritedFd>& fds, SpawnObjects& spawn) {
  int highest = STDERR_FILENO;
  for (const InheritedFd& fd : fds) highest = std::max(highest, fd.to);
  for (const InheritedFd& fd : fds) {
    int from = fd.from;
    if (from <= highest) {
      from = fcntl(from, F_DUPFD_CLOEXEC, highest + 1);
      if (from < 0) return SyscallError("duplicate descriptor", absl::StrCat(fd.from));
      spawn.moved.emplace_back(from);
    }
    posix_spawn_file_actions_adddup2(&spawn.actions, from, fd.to);
  }
  return absl::OkStatus();
}

void PlanSignals(bool new_session, SpawnObjects& spawn) {
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  // Not sigfillset: it leaves out the two signals that glibc keeps for itself, and posix_spawn then
  // makes the child ignore them.
  memset(&all, 0xff, sizeof all);
  posix_spawnattr_setsigmask(&spawn.attributes, &none);
  posix_spawnattr_setsigdefault(&spawn.attributes, &all);
  int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  if (new_session) flags |= POSIX_SPAWN_SETSID;
  posix_spawnattr_setflags(&spawn.attributes, static_cast<int16_t>(flags));
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
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

StatusOr<ClonedProcess> Spawn(const SpawnRequest& request) {
  SpawnObjects spawn;
  RETURN_IF_ERROR(PlanDescriptors(request.fds, spawn));
  PlanSignals(request.new_session, spawn);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, request.path.c_str(), &spawn.actions, &spawn.attributes,
                                Pointers(request.args).data(), Pointers(request.env).data());
  if (error != 0) return SyscallError("spawn", request.path, error);
  ASSIGN_OR_RETURN(UniqueFd pidfd, OpenPidFd(pid));
  return ClonedProcess{pid, std::move(pidfd)};
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
