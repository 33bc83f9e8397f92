#include "runtime/linux/spawn.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

#include "runtime/linux/pidfd.h"

namespace gantry {
namespace {

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
};

// Where each descriptor is to be copied from. One that stands where another is to be put would be
// overwritten before its turn: those are first duplicated above the highest target.
struct DescriptorPlan {
  std::vector<InheritedFd> copies;
  std::vector<UniqueFd> moved;
};

StatusOr<DescriptorPlan> PlanDescriptors(const std::vector<InheritedFd>& fds) {
  DescriptorPlan plan;
  int highest = STDERR_FILENO;
  for (const InheritedFd& fd : fds) highest = std::max(highest, fd.to);
  for (const InheritedFd& fd : fds) {
    int from = fd.from;
    if (from <= highest) {
      from = fcntl(from, F_DUPFD_CLOEXEC, highest + 1);
      if (from < 0) return SyscallError("duplicate descriptor", absl::StrCat(fd.from));
      plan.moved.emplace_back(from);
    }
    plan.copies.push_back({from, fd.to});
  }
  return plan;
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

StatusOr<ClonedProcess> PosixSpawn(const SpawnRequest& request, const DescriptorPlan& plan) {
  SpawnObjects spawn;
  for (const InheritedFd& fd : plan.copies)
    posix_spawn_file_actions_adddup2(&spawn.actions, fd.from, fd.to);
  PlanSignals(request.new_session, spawn);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, request.path.c_str(), &spawn.actions, &spawn.attributes,
                                Pointers(request.args).data(), Pointers(request.env).data());
  if (error != 0) return SyscallError("spawn", request.path, error);
  ASSIGN_OR_RETURN(UniqueFd pidfd, OpenPidFd(pid));
  return ClonedProcess{pid, std::move(pidfd)};
}

// What the child of a process with threads may do: system calls. All memory that it reads is made
// before.
struct ChildPlan {
  const char* path;
  char* const* args;
  char* const* env;
  const std::vector<InheritedFd>& copies;
  bool new_session;
  int failure;  // a pipe, close-on-exec: the error number, if it comes to that
};

[[noreturn]] void RunChild(const ChildPlan& plan) {
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction by_default = {};
    by_default.sa_handler = SIG_DFL;
    sigaction(signal, &by_default, nullptr);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  bool good = !plan.new_session || setsid() >= 0;
  for (const InheritedFd& fd : plan.copies) good = good && dup2(fd.from, fd.to) >= 0;
  if (good) execve(plan.path, plan.args, plan.env);
  const int error = errno;
  if (write(plan.failure, &error, sizeof error) < 0) _exit(126);
  _exit(127);
}

// posix_spawn of Debian 12's C library knows no cgroups.
StatusOr<ClonedProcess> SpawnIntoCgroup(const SpawnRequest& request, const DescriptorPlan& plan) {
  int failure[2];
  if (pipe2(failure, O_CLOEXEC) != 0) return SyscallError("pipe2");
  const UniqueFd read_end(failure[0]);
  UniqueFd write_end(failure[1]);
  const std::vector<char*> args = Pointers(request.args);
  const std::vector<char*> env = Pointers(request.env);
  // Above all targets, as the plan's own copies are.
  int highest = STDERR_FILENO;
  for (const InheritedFd& fd : plan.copies) highest = std::max(highest, fd.to);
  UniqueFd report(fcntl(write_end.get(), F_DUPFD_CLOEXEC, highest + 1));
  write_end.Reset();
  const ChildPlan child_plan = {request.path.c_str(), args.data(),         env.data(),
                                plan.copies,          request.new_session, report.get()};
  ASSIGN_OR_RETURN(ClonedProcess child,
                   Clone({.flags = CLONE_CLEAR_SIGHAND, .cgroup_fd = request.cgroup_fd}));
  if (child.pid == 0) RunChild(child_plan);
  report.Reset();
  int error = 0;
  // End of file: execve has closed it.
  if (read(read_end.get(), &error, sizeof error) != sizeof error) return child;
  WaitPidFd(child.pidfd.get(), /*block=*/true).status().IgnoreError();
  return SyscallError("spawn", request.path, error);
}

}  // namespace

StatusOr<ClonedProcess> Spawn(const SpawnRequest& request) {
  ASSIGN_OR_RETURN(const DescriptorPlan plan, PlanDescriptors(request.fds));
  return request.cgroup_fd < 0 ? PosixSpawn(request, plan) : SpawnIntoCgroup(request, plan);
}

}  // namespace gantry
