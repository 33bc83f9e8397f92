#include "shim/test_pod.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

#include "runtime/linux/file.h"
#include "runtime/linux/mount.h"
#include "runtime/linux/pidfd.h"
#include "runtime/spec/json.h"
#include "shim/journal.h"

namespace gantry::shim {
namespace {

std::atomic<int> pod_count = 0;

}  // namespace

bool Eventually(const std::function<bool()>& condition, absl::Duration deadline) {
  const auto end = std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(deadline);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

Memory MemoryOf(pid_t pid) {
  Memory memory;
  const auto text = ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", pid, "/smaps_rollup"));
  if (!text.ok()) return memory;
  for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    int64_t value = 0;
    if (fields.size() < 2 || !absl::SimpleAtoi(fields[1], &value)) continue;
    if (fields[0] == "Pss:") memory.pss = value;
    if (fields[0] == "Rss:") memory.rss = value;
    if (fields[0] == "Private_Dirty:" || fields[0] == "Private_Clean:") {
      memory.private_dirty_and_clean += value;
    }
  }
  return memory;
}

size_t DescriptorCount(pid_t pid) {
  size_t count = 0;
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(
      opendir(absl::StrCat("/proc/", pid, "/fd").c_str()), closedir);
  while (stream != nullptr && readdir(stream.get()) != nullptr) ++count;
  return count;
}

TestDaemon::TestDaemon()
    : reactor_(Reactor::Create().value()), cgroups_(DetectCgroupHost().value()) {}

TestPod::TestPod(TestDaemon* daemon)
    : daemon_(daemon), cgroup_(absl::StrCat("/gantry-shim-test-", getpid(), "-", ++pod_count)) {
  auto shim = Launch({.binary = GANTRY_SHIM,
                      .init_binary = GANTRY_INIT,
                      .pod_id = "testpod",
                      .directory = dir(),
                      .cgroup = {}});
  GANTRY_CHECK(shim.ok());
  shim_ = *std::move(shim);
  client_ = daemon->reactor().Add(std::move(shim_.connection), MakeHandlers());
  EXPECT_EQ(Hello(0), absl::OkStatus());
}

TestPod::~TestPod() {
  if (!shim_gone_) {
    if (disconnected()) {
      EXPECT_EQ(Reconnect(0), absl::OkStatus());
    }
    const pid_t pump = pump_pid();
    proto::Request request;
    request.mutable_shutdown();
    EXPECT_EQ(Call(request).status(), absl::OkStatus());
    const auto exit = WaitPidFd(shim_.pidfd.get(), /*block=*/true);
    EXPECT_TRUE(exit.ok() && exit->has_value() && (*exit)->Code() == 0);
    EXPECT_TRUE(pump <= 0 || kill(pump, 0) != 0) << "the pump lives";
  }
  client_.reset();
  RemoveCgroups();
  if (::testing::Test::HasFailure()) {
    const auto log = ReadFileAt(AT_FDCWD, dir() + "/shim.log");
    printf("--- shim.log\n%s---\n", log.ok() ? log->c_str() : "");
  }
}

void TestPod::RemoveCgroups() {
  for (const std::string& id : ids_) {
    EXPECT_EQ(KillCgroup(Cgroup(id)), absl::OkStatus());
    EXPECT_EQ(RemoveCgroup(Cgroup(id), std::chrono::milliseconds(10'000)), absl::OkStatus());
  }
  if (ids_.empty()) return;
  EXPECT_EQ(RemoveCgroup(CgroupPathsFor(daemon_->cgroups(), cgroup_).value()), absl::OkStatus());
}

Handlers TestPod::MakeHandlers() {
  return {.on_event =
              [this](const proto::Event& event) {
                const std::lock_guard lock(mutex_);
                events_.push_back(event);
                changed_.notify_all();
              },
          .on_disconnect =
              [this] {
                const std::lock_guard lock(mutex_);
                disconnected_ = true;
                changed_.notify_all();
              }};
}

StatusOr<ReplyWithFds> TestPod::Call(const proto::Request& request, std::span<const int> fds) {
  return client_->Call(request, fds, absl::Seconds(30));
}

Status TestPod::Hello(uint64_t events_since) {
  proto::Request request;
  request.mutable_hello()->set_version(kProtocolVersion);
  request.mutable_hello()->set_events_since(events_since);
  ASSIGN_OR_RETURN(const ReplyWithFds reply, Call(request));
  state_ = reply.reply.hello();
  return absl::OkStatus();
}

void TestPod::Disconnect() {
  client_->Close();
  const std::lock_guard lock(mutex_);
  disconnected_ = true;
}

Status TestPod::Reconnect(uint64_t events_since) {
  ASSIGN_OR_RETURN(UniqueFd socket, ConnectSocket(dir()));
  client_.reset();
  {
    const std::lock_guard lock(mutex_);
    disconnected_ = false;
    events_.clear();
  }
  client_ = daemon_->reactor().Add(std::move(socket), MakeHandlers());
  return Hello(events_since);
}

bool TestPod::disconnected() {
  const std::lock_guard lock(mutex_);
  return disconnected_;
}

spec::Spec TestPod::SpecFor(const std::string& script) {
  spec::Spec spec = daemon_->box().spec;
  spec.process->args = {"/bin/sh", "-c", script};
  return spec;
}

CgroupPaths TestPod::Cgroup(const std::string& id) const {
  return CgroupPathsFor(daemon_->cgroups(), absl::StrCat(cgroup_, "/", id)).value();
}

std::string TestPod::LogPath(const std::string& id) const {
  return absl::StrCat(dir(), "/logs/", id, ".log");
}

proto::CreateContainer TestPod::NewContainer(const std::string& id, const std::string& script) {
  return NewContainer(id, SpecFor(script));
}

proto::CreateContainer TestPod::NewContainer(const std::string& id, spec::Spec spec) {
  EXPECT_EQ(CreateCgroup(daemon_->cgroups(), absl::StrCat(cgroup_, "/", id)), absl::OkStatus());
  ids_.push_back(id);
  proto::CreateContainer request;
  request.set_container_id(id);
  request.set_spec_json(spec::ToJson(spec));
  request.set_log_path(LogPath(id));
  request.set_rootfs_mount_point(daemon_->box().request.rootfs_mount_point);
  const CgroupPaths paths = Cgroup(id);
  request.mutable_cgroup()->set_unified_dir(paths.unified_dir);
  request.mutable_cgroup()->set_clone_into(!paths.unified_dir.empty());
  for (const std::string& path : paths.V1Hierarchies()) request.mutable_cgroup()->add_v1_dirs(path);
  request.mutable_cgroup()->set_oom_file(paths.OomFile());
  return request;
}

Status TestPod::Clone(const proto::CreateContainer& create) {
  proto::Request request;
  *request.mutable_create_container() = create;
  ASSIGN_OR_RETURN(const UniqueFd rootfs,
                   CloneTree(AT_FDCWD, daemon_->box().rootfs(), /*recursive=*/false));
  const int fd = rootfs.get();
  ASSIGN_OR_RETURN(const ReplyWithFds reply, Call(request, std::span(&fd, 1)));
  EXPECT_EQ(reply.fds.size(), 1U);
  EXPECT_GT(reply.reply.create_container().pid_start_time(), 0U);
  return absl::OkStatus();
}

Status TestPod::Create(const proto::CreateContainer& create) {
  RETURN_IF_ERROR(Clone(create));
  return Continue(create.container_id());
}

Status TestPod::Continue(const std::string& id) {
  proto::Request request;
  request.mutable_continue_container()->set_container_id(id);
  return Call(request).status();
}

Status TestPod::Start(const std::string& id) {
  proto::Request request;
  request.mutable_start_container()->set_container_id(id);
  return Call(request).status();
}

Status TestPod::Run(const std::string& id, const std::string& script) {
  RETURN_IF_ERROR(Create(NewContainer(id, script)));
  return Start(id);
}

Status TestPod::Signal(const std::string& id, int signal, bool all) {
  proto::Request request;
  request.mutable_signal_container()->set_container_id(id);
  request.mutable_signal_container()->set_signal(signal);
  request.mutable_signal_container()->set_all(all);
  return Call(request).status();
}

Status TestPod::Delete(const std::string& id) {
  proto::Request request;
  request.mutable_delete_container()->set_container_id(id);
  return Call(request).status();
}

Status TestPod::ReopenLog(const std::string& id) {
  proto::Request request;
  request.mutable_reopen_log()->set_container_id(id);
  return Call(request).status();
}

bool TestPod::AwaitEvent(const std::function<bool(const proto::Event&)>& match) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, absl::ToChronoMilliseconds(kDeadline), [&] {
    for (const proto::Event& event : events_) {
      if (match(event)) return true;
    }
    return false;
  });
}

proto::ExitRecord TestPod::AwaitExit(const std::string& id, absl::Duration deadline) {
  proto::ExitRecord exit;
  exit.set_exit_code(-1);
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, absl::ToChronoMilliseconds(deadline), [&] {
    for (const proto::Event& event : events_) {
      if (event.container_id() != id || !event.has_exited()) continue;
      exit = event.exited();
      return true;
    }
    return false;
  });
  return exit;
}

std::vector<proto::Event> TestPod::Events() {
  const std::lock_guard lock(mutex_);
  return events_;
}

proto::HelloReply TestPod::State() {
  EXPECT_EQ(Hello(~uint64_t{0}), absl::OkStatus());
  return state_;
}

std::vector<std::string> TestPod::LogLines(const std::string& id) {
  const auto text = ReadFileAt(AT_FDCWD, LogPath(id), 256 << 20);
  if (!text.ok()) return {std::string(text.status().message())};
  std::vector<std::string> lines = absl::StrSplit(*text, '\n');
  if (lines.back().empty()) lines.pop_back();
  for (std::string& line : lines) line = line.substr(std::min<size_t>(line.size(), 31));
  return lines;
}

pid_t TestPod::pump_pid() const {
  const auto journal = ReadJournal(dir());
  return journal.ok() ? journal->pump.pid : -1;
}

void TestPod::KillShim() {
  SignalPidFd(shim_.pidfd.get(), SIGKILL).IgnoreError();
  WaitPidFd(shim_.pidfd.get(), /*block=*/true).IgnoreError();
  shim_gone_ = true;
}

std::string TestPod::ProcessJson(std::vector<std::string> args, bool terminal) {
  spec::Process process = *daemon_->box().spec.process;
  process.args = std::move(args);
  process.terminal = terminal;
  return spec::ToJson(process);
}

ExecOutcome RunExec(TestPod* pod, const std::string& container_id, const std::string& exec_id,
                    const std::string& script) {
  ExecOutcome outcome;
  runtime::OutputPipe output = runtime::MakeOutputPipe();
  const UniqueFd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int fds[] = {null.get(), output.write_end.get(), output.write_end.get()};
  proto::Request request;
  request.mutable_exec()->set_container_id(container_id);
  request.mutable_exec()->set_exec_id(exec_id);
  request.mutable_exec()->set_process_json(pod->ProcessJson({"/bin/sh", "-c", script}));
  outcome.status = pod->Call(request, fds).status();
  if (!outcome.status.ok()) return outcome;
  output.write_end.Reset();
  outcome.output = runtime::Drain(output.read_end.get());
  proto::Request wait;
  wait.mutable_wait_exec()->set_exec_id(exec_id);
  const auto reply = pod->Call(wait);
  outcome.status = reply.status();
  if (reply.ok()) outcome.exit_code = reply->reply.wait_exec().exit_code();
  return outcome;
}

}  // namespace gantry::shim
