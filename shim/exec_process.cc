#include "shim/exec_process.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"

#include "runtime/base/log.h"
#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"
#include "shim/console.h"
#include "shim/process_tree.h"

namespace gantry::shim {

StatusOr<std::unique_ptr<ExecProcess>> ExecProcess::Start(const ShimServices& services,
                                                          const Options& options, Done started) {
  auto exec = std::make_unique<ExecProcess>(services);
  exec->id_ = options.id;
  exec->container_id_ = options.container->id();
  exec->started_ = std::move(started);
  if (const Status status = exec->Begin(options); !status.ok()) {
    RemoveCgroup(exec->cgroup_).IgnoreError();
    return status;
  }
  return exec;
}

StatusOr<runtime::ExecOperation> ExecProcess::Enter(const ContainerProcess& container,
                                                    runtime::ExecRequest request) {
  const std::string& parent = container.cgroup().unified_dir;
  if (parent.empty()) return runtime::ExecOperation::Begin(request);
  CgroupPaths unified;
  unified.unified_dir = parent;
  if (auto child = CreateChildCgroup(unified, absl::StrCat("exec-", id_)); child.ok())
    cgroup_ = *std::move(child);
  StatusOr<runtime::ExecOperation> operation = absl::UnknownError("no group");
  // Where it has given controllers to groups of its own, nobody may enter above them; where it has
  // made its own one threaded, none below takes a process. Its init is somewhere.
  for (const std::string& group :
       {cgroup_.unified_dir, UnifiedGroupBelow(parent, container.pid()).value_or(""), parent}) {
    const auto directory = OpenAt(AT_FDCWD, group, O_PATH | O_DIRECTORY);
    if (!directory.ok()) continue;
    request.cgroup_fd = directory->get();
    operation = runtime::ExecOperation::Begin(request);
    const int error = ErrnoOf(operation.status());
    if (error != EBUSY && error != EOPNOTSUPP) return operation;
    RemoveCgroup(cgroup_).IgnoreError();
    cgroup_ = {};
  }
  if (request.v1_cgroup_dirs.empty()) return operation;
  request.cgroup_fd = -1;  // those hold it
  return runtime::ExecOperation::Begin(request);
}

Status ExecProcess::Begin(const Options& options) {
  runtime::ExecRequest request;
  request.process = options.process;
  request.container_pidfd = options.container->pidfd();
  request.container_pid = options.container->pid();
  request.v1_cgroup_dirs = options.container->cgroup().V1Hierarchies();
  request.seccomp_bpf = options.seccomp_bpf;
  for (size_t i = 0; i < 3 && i < options.stdio.size(); ++i) {
    request.stdio[i] = options.stdio[i].get();
  }
  ASSIGN_OR_RETURN(operation_, Enter(*options.container, request));
  hold_ = services_.reaper->HoldOrphans();
  middle_ =
      services_.reaper->Watch(operation_->middle_pid(), [this](ExitStatus) { OnMiddleExit(); });
  WatchHandshake();
  return absl::OkStatus();
}

void ExecProcess::WatchHandshake() {
  auto watch =
      services_.loop->Add(operation_->poll_fd(), EPOLLIN, [this](uint32_t) { OnReadable(); });
  if (watch.ok()) {
    watch_ = *std::move(watch);
    return;
  }
  Log(LogLevel::kError, "cannot watch an exec",
      {{"exec", id_}, {"error", std::string(watch.status().message())}});
  Kill();
}

void ExecProcess::LearnPid() {
  if (pid() <= 0 || child_.active() || exit_code_) return;
  child_ = services_.reaper->Watch(pid(), [this](ExitStatus status) { OnExit(status); });
  hold_.Reset();
  if (killed_) Kill();
}

void ExecProcess::OnReadable() {
  watch_.Reset();  // before the descriptor may be closed, see ContainerProcess::OnHandshake
  const StatusOr<runtime::ExecOperation::Step> step = operation_->OnReadable();
  LearnPid();
  if (operation_->poll_fd() >= 0) WatchHandshake();
  if (!step.ok()) {
    Fail(step.status());
  } else if (*step == runtime::ExecOperation::Step::kRunning) {
    terminal_ = operation_->TakeTerminal();
    if (const Done done = std::exchange(started_, nullptr)) done(absl::OkStatus());
    FinishExit();
  }
}

void ExecProcess::Fail(const Status& status) {
  if (const Done done = std::exchange(started_, nullptr)) done(status);
  FinishExit();
}

void ExecProcess::OnMiddleExit() {
  middle_gone_ = true;
  // Its last words may still be in the socket, behind a terminal and an error of the real process:
  // they bring the pid.
  for (int i = 0; i < 3 && pid() <= 0 && watch_.active(); ++i) OnReadable();
  if (pid() <= 0) {
    watch_.Reset();
    hold_.Reset();
    Fail(absl::InternalError("the process was killed before it was set up"));
  }
  CheckGone();
}

void ExecProcess::OnExit(ExitStatus status) {
  exit_code_ = status.Code();
  FinishExit();
}

// How execve went comes first. The middle process may hold the handshake open for a moment longer
// than a short program lives.
void ExecProcess::FinishExit() {
  if (!exit_code_ || started_) return;
  for (const auto& done : std::exchange(when_exited_, {})) done(*exit_code_);
  CheckGone();
}

void ExecProcess::CheckGone() {
  if (!middle_gone_ || started_ || (pid() > 0 && !exit_code_)) return;
  if (const auto gone = std::exchange(when_gone_, nullptr)) gone();
}

void ExecProcess::Kill() {
  killed_ = true;
  if (!middle_gone_) kill(operation_->middle_pid(), SIGKILL);
  if (!cgroup_.unified_dir.empty() && KillCgroup(cgroup_).ok()) return;
  if (pid() > 0 && !exit_code_) KillTree(pid());
}

void ExecProcess::WhenExited(std::function<void(int)> done) {
  if (exit_code_) {
    done(*exit_code_);
    return;
  }
  when_exited_.push_back(std::move(done));
}

void ExecProcess::WhenGone(std::function<void()> gone) {
  when_gone_ = std::move(gone);
  CheckGone();
}

Status ExecProcess::Resize(uint32_t width, uint32_t height) {
  return ResizeTerminal(terminal_.get(), width, height);
}

}  // namespace gantry::shim
