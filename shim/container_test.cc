// Containers through a real shim.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <future>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "runtime/linux/file.h"
#include "shim/journal.h"
#include "shim/test_pod.h"

namespace gantry::shim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

class ShimContainer : public ::testing::Test {
 protected:
  void SetUp() override {
    if (runtime::MustSkip()) GTEST_SKIP();
    daemon_ = std::make_unique<TestDaemon>();
    pod_ = std::make_unique<TestPod>(daemon_.get());
  }
  std::unique_ptr<TestDaemon> daemon_;
  std::unique_ptr<TestPod> pod_;
};

TEST_F(ShimContainer, LogIsCompleteWhenTheExitIsTold) {
  ASSERT_EQ(pod_->Run("c", "echo out; echo err >&2; echo -n tail; exit 7"), absl::OkStatus());
  const proto::ExitRecord exit = pod_->AwaitExit("c");
  EXPECT_THAT(pod_->LogLines("c"),
              UnorderedElementsAre("stdout F out", "stderr F err", "stdout P tail"));
  EXPECT_EQ(exit.exit_code(), 7);
  EXPECT_FALSE(exit.oom_killed());
  EXPECT_FALSE(exit.log_incomplete());
}

TEST_F(ShimContainer, AMissingProgramIsToldVerbatimAndExits128) {
  spec::Spec spec = pod_->SpecFor("");
  spec.process->args = {"/no/such/program"};
  ASSERT_EQ(pod_->Create(pod_->NewContainer("c", spec)), absl::OkStatus());
  const Status started = pod_->Start("c");
  EXPECT_THAT(std::string(started.message()), HasSubstr("/no/such/program"));
  EXPECT_THAT(std::string(started.message()), HasSubstr("No such file or directory"));
  EXPECT_EQ(pod_->AwaitExit("c").exit_code(), 128);
  EXPECT_EQ(pod_->Delete("c"), absl::OkStatus());
}

TEST_F(ShimContainer, AFailedSetUpLeavesNothingAndItsNameIsFree) {
  spec::Spec spec = pod_->SpecFor("true");
  spec.mounts.push_back({"/data", "bind", "/no/such/source", {"rbind"}, {}, {}});
  proto::CreateContainer request = pod_->NewContainer("c", spec);
  const Status created = pod_->Create(request);
  EXPECT_THAT(std::string(created.message()), HasSubstr("/no/such/source"));
  EXPECT_TRUE(pod_->State().containers().empty());
  EXPECT_TRUE(absl::IsNotFound(pod_->Start("c")));
  // In another cgroup: the kernel kills who is born into one that was killed before (Linux 6.18).
  request = pod_->NewContainer("d", "exit 3");
  request.set_container_id("c");
  ASSERT_EQ(pod_->Create(request), absl::OkStatus());
  ASSERT_EQ(pod_->Start("c"), absl::OkStatus());
  EXPECT_EQ(pod_->AwaitExit("c").exit_code(), 3);
  EXPECT_EQ(pod_->Events().size(), 1U) << "the failed one is told of";
}

TEST_F(ShimContainer, BadRequestsAreRefused) {
  proto::CreateContainer request = pod_->NewContainer("c", "true");
  request.set_container_id("../c");
  EXPECT_TRUE(absl::IsInvalidArgument(pod_->Clone(request)));
  request.set_container_id("c");
  request.set_spec_json("{");
  EXPECT_TRUE(absl::IsInvalidArgument(pod_->Clone(request)));
  request = pod_->NewContainer("d", "true");
  request.set_log_path("relative");
  EXPECT_TRUE(absl::IsInvalidArgument(pod_->Clone(request)));
  request.set_log_path("");
  request.add_pod_namespaces("network");
  EXPECT_TRUE(absl::IsFailedPrecondition(pod_->Clone(request)));
  request.clear_pod_namespaces();
  ASSERT_EQ(pod_->Clone(request), absl::OkStatus());
  EXPECT_EQ(pod_->Clone(request).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(absl::IsFailedPrecondition(pod_->Start("d"))) << "before Continue";
  EXPECT_EQ(pod_->Continue("d"), absl::OkStatus());
  EXPECT_TRUE(absl::IsFailedPrecondition(pod_->Continue("d"))) << "a second time";
  EXPECT_TRUE(absl::IsNotFound(pod_->Signal("unknown", SIGTERM)));
  EXPECT_TRUE(absl::IsInvalidArgument(pod_->Signal("d", 0)));
}

TEST_F(ShimContainer, StartIsAnsweredBeforeAShortProcessIsToldToHaveEnded) {
  for (int i = 0; i < 20; ++i) {
    const std::string id = absl::StrCat("c", i);
    ASSERT_EQ(pod_->Create(pod_->NewContainer(id, "exit 0")), absl::OkStatus());
    proto::Request request;
    request.mutable_start_container()->set_container_id(id);
    const auto reply = pod_->Call(request);
    ASSERT_TRUE(reply.ok()) << reply.status();
    const proto::ExitRecord exit = pod_->AwaitExit(id);
    EXPECT_EQ(exit.exit_code(), 0);
    EXPECT_LE(reply->reply.start_container().started_at_ns(), exit.finished_at_ns());
  }
}

TEST_F(ShimContainer, SignalsReachTheInit) {
  ASSERT_EQ(
      pod_->Run("c", "trap 'echo got term; exit 5' TERM; echo ready; while :; do sleep 0.01; done"),
      absl::OkStatus());
  ASSERT_TRUE(Eventually(
      [&] { return pod_->LogLines("c") == std::vector<std::string>{"stdout F ready"}; }));
  EXPECT_EQ(pod_->Signal("c", SIGTERM), absl::OkStatus());
  EXPECT_EQ(pod_->AwaitExit("c").exit_code(), 5);
  EXPECT_THAT(pod_->LogLines("c"), ElementsAre("stdout F ready", "stdout F got term"));
  EXPECT_EQ(pod_->Signal("c", SIGTERM), absl::OkStatus()) << "after the end";
}

TEST_F(ShimContainer, WithoutAPidNamespaceEveryProcessOfItsCgroupDies) {
  spec::Spec spec = pod_->SpecFor("sleep 1000 & setsid sleep 1000 & echo done");
  std::erase_if(spec.linux_.namespaces, [](const auto& ns) { return ns.type == "pid"; });
  ASSERT_EQ(pod_->Create(pod_->NewContainer("c", spec)), absl::OkStatus());
  ASSERT_EQ(pod_->Start("c"), absl::OkStatus());
  // They also hold the log's pipe open: the exit is told all the same.
  const proto::ExitRecord exit = pod_->AwaitExit("c", absl::Seconds(5));
  EXPECT_EQ(exit.exit_code(), 0);
  EXPECT_FALSE(exit.log_incomplete());
  EXPECT_THAT(pod_->LogLines("c"), ElementsAre("stdout F done"));
  EXPECT_TRUE(Eventually([&] { return CgroupProcesses(pod_->Cgroup("c"))->empty(); }));
}

TEST_F(ShimContainer, DeleteWorksInEveryPhase) {
  ASSERT_EQ(pod_->Clone(pod_->NewContainer("cloned", "true")), absl::OkStatus());
  ASSERT_EQ(pod_->Create(pod_->NewContainer("created", "true")), absl::OkStatus());
  ASSERT_EQ(pod_->Run("running", "sleep 1000"), absl::OkStatus());
  ASSERT_EQ(pod_->Run("exited", "true"), absl::OkStatus());
  pod_->AwaitExit("exited");
  const proto::HelloReply before = pod_->State();
  std::vector<int> phases;
  for (const auto& state : before.containers()) phases.push_back(state.phase());
  EXPECT_THAT(phases, UnorderedElementsAre(1, 2, 3, 4));
  for (const char* id : {"cloned", "created", "running", "exited", "unknown"}) {
    EXPECT_EQ(pod_->Delete(id), absl::OkStatus()) << id;
    EXPECT_EQ(pod_->Delete(id), absl::OkStatus()) << id << " again";
  }
  EXPECT_TRUE(pod_->State().containers().empty());
  EXPECT_TRUE(ReadJournal(pod_->dir())->containers.empty());
  for (const auto& state : before.containers()) EXPECT_NE(kill(state.pid(), 0), 0);
}

// A child that hangs in a volume while gantryd gives up.
TEST_F(ShimContainer, DeleteWhileItIsSetUpIsAnswered) {
  ASSERT_EQ(pod_->Clone(pod_->NewContainer("c", "true")), absl::OkStatus());
  const pid_t child = pod_->State().containers(0).pid();
  ASSERT_EQ(kill(child, SIGSTOP), 0);
  proto::Request request;
  request.mutable_continue_container()->set_container_id("c");
  std::promise<absl::StatusCode> continued;
  pod_->client().Send(request, {}, [&](const StatusOr<ReplyWithFds>& reply) {
    continued.set_value(reply.status().code());
  });
  EXPECT_EQ(pod_->Delete("c"), absl::OkStatus());
  EXPECT_EQ(continued.get_future().get(), absl::StatusCode::kInternal);
  EXPECT_TRUE(pod_->State().containers().empty());
  EXPECT_TRUE(ReadJournal(pod_->dir())->containers.empty());
}

TEST_F(ShimContainer, AnInitKilledBeforeItsStartIsExited) {
  ASSERT_EQ(pod_->Create(pod_->NewContainer("c", "true")), absl::OkStatus());
  ASSERT_EQ(pod_->Signal("c", SIGKILL), absl::OkStatus());
  EXPECT_EQ(pod_->AwaitExit("c").exit_code(), 137);
  EXPECT_TRUE(absl::IsFailedPrecondition(pod_->Start("c")));
  EXPECT_EQ(pod_->Delete("c"), absl::OkStatus());
}

TEST_F(ShimContainer, AReopenedLogLeavesTheOldFileAlone) {
  ASSERT_EQ(
      pod_->Run("c", "echo one; while [ ! -e /tmp/go-reopen ]; do sleep 0.01; done; echo two"),
      absl::OkStatus());
  ASSERT_TRUE(
      Eventually([&] { return pod_->LogLines("c") == std::vector<std::string>{"stdout F one"}; }));
  const std::string path = pod_->LogPath("c");
  ASSERT_EQ(rename(path.c_str(), (path + ".1").c_str()), 0);
  ASSERT_EQ(pod_->ReopenLog("c"), absl::OkStatus());
  EXPECT_EQ(access(path.c_str(), F_OK), 0) << "there when the answer comes";
  ASSERT_EQ(CreateFileAt(AT_FDCWD, daemon_->box().rootfs() + "/tmp/go-reopen", "", 0644),
            absl::OkStatus());
  EXPECT_EQ(pod_->AwaitExit("c").exit_code(), 0);
  EXPECT_THAT(pod_->LogLines("c"), ElementsAre("stdout F two"));
  EXPECT_TRUE(absl::IsFailedPrecondition(pod_->ReopenLog("c")));
}

TEST_F(ShimContainer, ALogThatCannotBeOpenedFailsTheCreation) {
  ASSERT_EQ(CreateFileAt(AT_FDCWD, pod_->dir() + "/file", "", 0644), absl::OkStatus());
  proto::CreateContainer request = pod_->NewContainer("c", "true");
  request.set_log_path(pod_->dir() + "/file/c.log");
  const Status created = pod_->Create(request);
  EXPECT_THAT(std::string(created.message()), HasSubstr("log file: "));
  EXPECT_THAT(std::string(created.message()), HasSubstr("Not a directory"));
  EXPECT_TRUE(pod_->State().containers().empty());
}

TEST_F(ShimContainer, OutputWithoutALogIsDiscarded) {
  proto::CreateContainer request = pod_->NewContainer("c", "head -c 1000000 /dev/zero; exit 4");
  request.set_log_path("");
  ASSERT_EQ(pod_->Create(request), absl::OkStatus());
  ASSERT_EQ(pod_->Start("c"), absl::OkStatus());
  EXPECT_EQ(pod_->AwaitExit("c").exit_code(), 4);
}

TEST_F(ShimContainer, ATerminalIsLoggedToo) {
  spec::Spec spec = pod_->SpecFor("tty; echo typed");
  spec.process->terminal = true;
  ASSERT_EQ(pod_->Create(pod_->NewContainer("c", spec)), absl::OkStatus());
  ASSERT_EQ(pod_->Start("c"), absl::OkStatus());
  EXPECT_EQ(pod_->AwaitExit("c").exit_code(), 0);
  EXPECT_THAT(pod_->LogLines("c"), ElementsAre("stdout F /dev/pts/0\r", "stdout F typed\r"));
}

TEST_F(ShimContainer, AContainerThatIsOutOfMemoryIsToldApart) {
  spec::Spec spec = pod_->SpecFor("");
  spec.process->args = {"/bin/busybox", "tail", "/dev/zero"};
  const proto::CreateContainer request = pod_->NewContainer("c", spec);
  const CgroupPaths cgroup = pod_->Cgroup("c");
  if (cgroup.OomFile().empty()) GTEST_SKIP() << "no memory controller";
  const std::string limit =
      cgroup.DirOf("memory") + (cgroup.IsV1("memory") ? "/memory.limit_in_bytes" : "/memory.max");
  ASSERT_EQ(WriteFileAt(AT_FDCWD, limit, "16777216"), absl::OkStatus());
  ASSERT_EQ(pod_->Create(request), absl::OkStatus());
  ASSERT_EQ(pod_->Start("c"), absl::OkStatus());
  const proto::ExitRecord exit = pod_->AwaitExit("c");
  EXPECT_EQ(exit.exit_code(), 137);
  EXPECT_TRUE(exit.oom_killed());
  // SIGKILL from elsewhere is no OOM.
  ASSERT_EQ(pod_->Run("d", "sleep 1000"), absl::OkStatus());
  ASSERT_EQ(pod_->Signal("d", SIGKILL), absl::OkStatus());
  EXPECT_FALSE(pod_->AwaitExit("d").oom_killed());
}

TEST_F(ShimContainer, AnOomBesidesTheInitIsAnEvent) {
  const proto::CreateContainer request =
      pod_->NewContainer("c", "/bin/busybox tail /dev/zero; sleep 1000");
  const CgroupPaths cgroup = pod_->Cgroup("c");
  if (cgroup.OomFile().empty()) GTEST_SKIP() << "no memory controller";
  const std::string limit =
      cgroup.DirOf("memory") + (cgroup.IsV1("memory") ? "/memory.limit_in_bytes" : "/memory.max");
  ASSERT_EQ(WriteFileAt(AT_FDCWD, limit, "16777216"), absl::OkStatus());
  ASSERT_EQ(pod_->Create(request), absl::OkStatus());
  ASSERT_EQ(pod_->Start("c"), absl::OkStatus());
  EXPECT_TRUE(pod_->AwaitEvent([](const proto::Event& event) { return event.oom(); }));
  ASSERT_EQ(pod_->Delete("c"), absl::OkStatus());
}

TEST_F(ShimContainer, AHundredContainersLeaveNothingBehind) {
  ASSERT_EQ(pod_->Run("first", "true"), absl::OkStatus());
  pod_->AwaitExit("first");
  ASSERT_EQ(pod_->Delete("first"), absl::OkStatus());
  const size_t shim_fds = DescriptorCount(pod_->shim_pid());
  const size_t pump_fds = DescriptorCount(pod_->pump_pid());
  for (int i = 0; i < 100; ++i) {
    const std::string id = absl::StrCat("c", i);
    const bool missing = i % 10 == 0;
    spec::Spec spec = pod_->SpecFor("echo hello");
    if (missing) spec.process->args = {"/missing"};
    ASSERT_EQ(pod_->Create(pod_->NewContainer(id, spec)), absl::OkStatus());
    EXPECT_EQ(pod_->Start(id).ok(), !missing);
    EXPECT_EQ(pod_->AwaitExit(id).exit_code(), missing ? 128 : 0);
    ASSERT_EQ(pod_->Delete(id), absl::OkStatus());
  }
  EXPECT_TRUE(Eventually([&] { return DescriptorCount(pod_->shim_pid()) <= shim_fds; }));
  EXPECT_TRUE(Eventually([&] { return DescriptorCount(pod_->pump_pid()) <= pump_fds; }));
  const std::string children = *ReadFileAt(
      AT_FDCWD, absl::StrCat("/proc/", pod_->shim_pid(), "/task/", pod_->shim_pid(), "/children"));
  EXPECT_EQ(children, absl::StrCat(pod_->pump_pid(), " "));
}

}  // namespace
}  // namespace gantry::shim
