#include "shim/container_process.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <csignal>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "runtime/base/log.h"
#include "runtime/linux/file.h"
#include "runtime/linux/process.h"
#include "shim/console.h"

namespace gantry::shim {
namespace {

constexpr int kStartErrorCode = 128;
constexpr int kKilledCode = 128 + SIGKILL;

StatusOr<std::pair<UniqueFd, UniqueFd>> Pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return SyscallError("pipe2");
  return std::pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

// What a client may be behind; the kernel may grant less.
constexpr int kClientBuffer = 1 << 20;

// Of our end only: O_NONBLOCK belongs to the open file, and each end of a pipe is one of its own.
Status MakeNonBlocking(int fd) {
  if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) return SyscallError("fcntl", "O_NONBLOCK");
  return absl::OkStatus();
}

// For one who is attached: read end and write end.
StatusOr<std::pair<UniqueFd, UniqueFd>> ClientPipe() {
  ASSIGN_OR_RETURN(auto ends, Pipe());
  RETURN_IF_ERROR(MakeNonBlocking(ends.second.get()));
  fcntl(ends.second.get(), F_SETPIPE_SZ, kClientBuffer);
  return ends;
}

CgroupPaths PathsOf(const proto::Cgroup& cgroup) {
  CgroupPaths paths;
  paths.unified_dir = cgroup.unified_dir();
  for (const std::string& dir : cgroup.v1_dirs()) paths.v1_dirs[dir] = dir;
  return paths;
}

}  // namespace

StatusOr<std::unique_ptr<ContainerProcess>> ContainerProcess::Create(const ShimServices& services,
                                                                     ContainerOptions options) {
  auto container = std::make_unique<ContainerProcess>(services);
  ContainerProcess* raw = container.get();
  raw->id_ = options.id;
  raw->cgroup_ = PathsOf(options.cgroup);
  raw->oom_file_ = options.cgroup.oom_file();
  raw->log_path_ = options.log_path;
  Stdio stdio;
  RETURN_IF_ERROR_CONTEXT(raw->MakeStdio(options, &stdio), "standard streams");
  RETURN_IF_ERROR(raw->Begin(options, stdio));
  raw->stdin_ = std::move(stdio.in);
  if (stdio.out.valid()) raw->OpenLog(std::move(stdio.out), std::move(stdio.err));
  return container;
}

Status ContainerProcess::MakeStdio(const ContainerOptions& options, Stdio* stdio) {
  ASSIGN_OR_RETURN(UniqueFd null, OpenAt(AT_FDCWD, "/dev/null", O_RDWR));
  for (UniqueFd& fd : stdio->child) fd.Reset(fcntl(null.get(), F_DUPFD_CLOEXEC, 3));
  if (options.spec.process->terminal) return absl::OkStatus();
  if (options.keep_stdin) {
    ASSIGN_OR_RETURN(std::tie(stdio->child[0], stdio->in), Pipe());
    RETURN_IF_ERROR(MakeNonBlocking(stdio->in.get()));
  }
  ASSIGN_OR_RETURN(std::tie(stdio->out, stdio->child[1]), Pipe());
  ASSIGN_OR_RETURN(std::tie(stdio->err, stdio->child[2]), Pipe());
  RETURN_IF_ERROR(MakeNonBlocking(stdio->out.get()));
  return MakeNonBlocking(stdio->err.get());
}

Status ContainerProcess::Begin(const ContainerOptions& options, const Stdio& stdio) {
  runtime::CreateRequest request;
  request.spec = &options.spec;
  request.rootfs_fd = options.rootfs.get();
  request.rootfs_mount_point = options.rootfs_mount_point;
  for (const auto& [destination, fd] : options.mounts) request.mounts[destination] = fd.get();
  request.join_namespaces = options.join_namespaces;
  request.seccomp_bpf = options.seccomp_bpf;
  for (int i = 0; i < 3; ++i) request.stdio[i] = stdio.child[i].get();
  request.v1_cgroup_dirs = cgroup_.V1Hierarchies();
  UniqueFd cgroup;
  if (options.cgroup.clone_into()) {
    ASSIGN_OR_RETURN(cgroup, OpenAt(AT_FDCWD, options.cgroup.unified_dir(), O_PATH | O_DIRECTORY));
    request.cgroup_fd = cgroup.get();
  }
  ASSIGN_OR_RETURN(creation_, runtime::Creation::Begin(request));
  const StatusOr<uint64_t> start = ProcessStartTime(creation_->pid());
  if (start.ok()) start_time_ = *start;
  child_ = services_.reaper->Watch(creation_->pid(), [this](ExitStatus exit) { OnExit(exit); });
  services_.journal->Created(id_, creation_->pid(), start_time_);
  return absl::OkStatus();
}

void ContainerProcess::OpenLog(UniqueFd out, UniqueFd err) {
  PumpHandle::Source source = {.path = log_path_, .out = std::move(out), .err = std::move(err)};
  source.interactive = stdin_.valid() || terminal_.valid();
  if (log_path_.empty()) {
    // Nothing hangs on the pump, which may sleep on another container's disk; its answer may come
    // when this object is gone.
    log_opened_ = absl::OkStatus();
    log_ = services_.pump->Open(std::move(source), [](const Status&) {});
    return;
  }
  log_ = services_.pump->Open(std::move(source), [this](const Status& status) {
    log_opened_ = status;
    CheckCreated();
  });
}

Status ContainerProcess::Continue(Done done) {
  if (phase_ != Phase::kCloned || init_exit_) {
    return absl::FailedPreconditionError("the container does not wait to be set up");
  }
  phase_ = Phase::kSettingUp;
  continued_ = std::move(done);
  if (const Status status = creation_->Continue(); status.ok()) {
    WatchHandshake();
  } else {
    FailContinue(status);
  }
  return absl::OkStatus();
}

void ContainerProcess::WatchHandshake() {
  auto watch =
      services_.loop->Add(creation_->poll_fd(), EPOLLIN, [this](uint32_t) { OnHandshake(); });
  if (watch.ok()) {
    handshake_watch_ = *std::move(watch);
    return;
  }
  Log(LogLevel::kError, "cannot watch a container's init",
      {{"container", id_}, {"error", std::string(watch.status().message())}});
  Kill();
}

void ContainerProcess::OnHandshake() {
  // Ended before the descriptor may be closed: a child forked meanwhile would keep it alive in the
  // epoll set.
  handshake_watch_.Reset();
  const StatusOr<runtime::Creation::Step> step = creation_->OnReadable();
  if (creation_->poll_fd() >= 0) WatchHandshake();
  if (!step.ok()) {
    if (phase_ == Phase::kSettingUp) FailContinue(step.status());
    if (phase_ != Phase::kStarting) return;
    start_failed_ = true;
    if (const Done done = std::exchange(started_, nullptr)) done(step.status());
    return;
  }
  if (*step == runtime::Creation::Step::kCreated) OnSetUp();
  if (*step == runtime::Creation::Step::kRunning) OnStarted();
}

void ContainerProcess::OnSetUp() {
  set_up_ = true;
  terminal_ = creation_->TakeTerminal();
  if (terminal_.valid()) {
    UniqueFd copy(fcntl(terminal_.get(), F_DUPFD_CLOEXEC, 3));
    if (!copy.valid() || !MakeNonBlocking(copy.get()).ok()) {
      FailContinue(SyscallError("dup", "terminal"));
      return;
    }
    // Without a path too: somebody has to read it.
    OpenLog(std::move(copy), UniqueFd());
  }
  CheckCreated();
}

void ContainerProcess::CheckCreated() {
  if (phase_ != Phase::kSettingUp || !continued_) return;
  if (log_ != 0 && log_opened_ && !log_opened_->ok()) {
    FailContinue(*log_opened_);
    return;
  }
  if (!set_up_ || (log_ != 0 && !log_opened_)) return;
  phase_ = Phase::kCreated;
  std::exchange(continued_, nullptr)(absl::OkStatus());
}

void ContainerProcess::FailContinue(const Status& status) {
  if (const Done done = std::exchange(continued_, nullptr)) done(status);
}

void ContainerProcess::Start(Done done) {
  if (phase_ != Phase::kCreated || init_exit_) {
    done(absl::FailedPreconditionError(init_exit_ || exited()
                                           ? "the container has ended"
                                           : "the container does not wait for its start"));
    return;
  }
  if (!oom_file_.empty()) {
    auto oom = OomWatch::Create(services_.loop, oom_file_, [this] {
      if (running()) services_.events->AddOom(id_);
    });
    if (oom.ok()) oom_ = *std::move(oom);
  }
  started_at_ns_ = absl::GetCurrentTimeNanos();
  phase_ = Phase::kStarting;
  started_ = std::move(done);
  if (const Status status = creation_->Start(); !status.ok()) {
    start_failed_ = true;
    std::exchange(started_, nullptr)(status);
    Kill();
  }
}

void ContainerProcess::OnStarted() {
  phase_ = Phase::kRunning;
  services_.journal->Started(id_, started_at_ns_);
  if (const Done done = std::exchange(started_, nullptr)) done(absl::OkStatus());
}

Status ContainerProcess::Signal(int signal) {
  if (init_exit_) return absl::OkStatus();
  return SignalPidFd(pidfd(), signal);
}

void ContainerProcess::Kill() {
  if (!init_exit_) SignalPidFd(pidfd(), SIGKILL).IgnoreError();
  KillRest();
}

void ContainerProcess::KillRest() {
  if (cgroup_.unified_dir.empty() && cgroup_.v1_dirs.empty()) return;
  if (const Status status = KillCgroup(cgroup_); !status.ok()) {
    Log(LogLevel::kWarning, "cannot kill what is left of a container",
        {{"container", id_}, {"error", std::string(status.message())}});
  }
}

void ContainerProcess::ReopenLog(Done done) {
  if (init_exit_) {
    done(absl::FailedPreconditionError("the container has ended"));
    return;
  }
  if (log_ == 0) {
    done(absl::OkStatus());
    return;
  }
  services_.pump->Reopen(log_, std::move(done));
}

StatusOr<ContainerProcess::Attachment> ContainerProcess::Attach(const proto::Attach& wanted) {
  if (init_exit_ || log_ == 0)
    return absl::FailedPreconditionError("the container does not run, or has ended");
  Attachment attachment;
  if (wanted.stdin()) {
    const int source = terminal_.valid() ? terminal_.get() : stdin_.get();
    if (source >= 0) attachment.in.Reset(fcntl(source, F_DUPFD_CLOEXEC, 3));
  }
  UniqueFd out, err;
  if (wanted.stdout()) {
    ASSIGN_OR_RETURN(std::tie(attachment.out, out), ClientPipe());
  }
  if (wanted.stderr() && !terminal_.valid()) {
    ASSIGN_OR_RETURN(std::tie(attachment.err, err), ClientPipe());
  }
  services_.pump->Attach(log_, std::move(out), std::move(err));
  return attachment;
}

Status ContainerProcess::Resize(uint32_t width, uint32_t height) {
  return ResizeTerminal(terminal_.get(), width, height);
}

void ContainerProcess::WhenExited(std::function<void()> done) {
  if (exited()) {
    done();
    return;
  }
  when_exited_.push_back(std::move(done));
}

void ContainerProcess::Abandon(std::function<void()> gone) {
  abandoned_ = true;
  gone_ = std::move(gone);
  handshake_watch_.Reset();
  Kill();
  if (exited()) std::exchange(gone_, nullptr)();
}

void ContainerProcess::OnExit(ExitStatus status) {
  // What the init said last comes before its end.
  while (handshake_watch_.active() && creation_->poll_fd() >= 0) {
    const int before = creation_->poll_fd();
    const Phase phase = phase_;
    OnHandshake();
    if (creation_->poll_fd() == before && phase == phase_) break;
  }
  handshake_watch_.Reset();
  init_exit_ = status;
  exit_.set_exit_code(start_failed_ ? kStartErrorCode : status.Code());
  exit_.set_finished_at_ns(absl::GetCurrentTimeNanos());
  FailContinue(absl::InternalError("the container's init has ended while it was set up"));
  if (const Done done = std::exchange(started_, nullptr)) {
    done(absl::InternalError("the container's init has ended before it was started"));
  }
  // An abandoned one was killed whole; its cgroup may be another's by now.
  if (!abandoned_) KillRest();
  exit_.set_oom_killed(exit_.exit_code() == kKilledCode && oom_ != nullptr && oom_->HasRisen());
  oom_.reset();
  FinishLog();
}

void ContainerProcess::FinishLog() {
  if (log_ == 0) {
    Publish(false);
    return;
  }
  const uint32_t log = std::exchange(log_, 0);
  if (log_path_.empty()) {
    services_.pump->Finish(log, [](const Status&) {});
    Publish(false);
    return;
  }
  const auto published = [this](const Status& status) { Publish(!status.ok()); };
  if (abandoned_)
    services_.pump->Abandon(log, published);
  else
    services_.pump->Finish(log, published);
}

void ContainerProcess::Publish(bool log_incomplete) {
  exit_.set_log_incomplete(log_incomplete);
  phase_ = Phase::kExited;
  terminal_.Reset();
  stdin_.Reset();
  const auto waiting = std::exchange(when_exited_, {});
  if (abandoned_) {
    services_.journal->Deleted(id_);
    if (gone_) std::exchange(gone_, nullptr)();  // nothing of this object may be used after it
  } else {
    services_.journal->Exited(id_, exit_);
    services_.events->AddExited(id_, exit_);
  }
  for (const auto& done : waiting) done();
}

proto::ContainerState ContainerProcess::State() const {
  proto::ContainerState state;
  state.set_container_id(id_);
  state.set_pid(pid());
  state.set_pid_start_time(start_time_);
  switch (phase_) {
    case Phase::kCloned:
    case Phase::kSettingUp:
      state.set_phase(proto::PHASE_CLONED);
      break;
    case Phase::kCreated:
    case Phase::kStarting:
      state.set_phase(proto::PHASE_CREATED);
      break;
    case Phase::kRunning:
      state.set_phase(proto::PHASE_RUNNING);
      break;
    case Phase::kExited:
      state.set_phase(proto::PHASE_EXITED);
      *state.mutable_exit() = exit_;
      break;
  }
  if (phase_ == Phase::kRunning || phase_ == Phase::kExited) {
    state.set_started_at_ns(started_at_ns_);
  }
  return state;
}

}  // namespace gantry::shim
