// Execs through a real shim.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "runtime/linux/file.h"
#include "shim/test_pod.h"

namespace gantry::shim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ShimExec : public ::testing::Test {
 protected:
  void SetUp() override {
    if (runtime::MustSkip()) GTEST_SKIP();
    daemon_ = std::make_unique<TestDaemon>();
    pod_ = std::make_unique<TestPod>(daemon_.get());
    ASSERT_EQ(pod_->Run("c", "sleep 1000"), absl::OkStatus());
  }
  // Starts an exec whose output nobody reads.
  Status Begin(const std::string& exec_id, std::vector<std::string> args) {
    const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    const int fds[] = {null.get(), null.get(), null.get()};
    proto::Request request;
    request.mutable_exec()->set_container_id("c");
    request.mutable_exec()->set_exec_id(exec_id);
    request.mutable_exec()->set_process_json(pod_->ProcessJson(std::move(args)));
    return pod_->Call(request, fds).status();
  }
  Status Kill(const std::string& exec_id) {
    proto::Request request;
    request.mutable_kill_exec()->set_exec_id(exec_id);
    return pod_->Call(request).status();
  }
  StatusOr<int> Wait(const std::string& exec_id) {
    proto::Request request;
    request.mutable_wait_exec()->set_exec_id(exec_id);
    ASSIGN_OR_RETURN(const ReplyWithFds reply, pod_->Call(request));
    return reply.reply.wait_exec().exit_code();
  }
  size_t Processes() { return CgroupProcesses(pod_->Cgroup("c"))->size(); }
  size_t ExecGroups() {
    size_t count = 0;
    for (const char* id : {"e", "f", "e0", "e99"}) {
      count += access((pod_->Cgroup("c").unified_dir + "/exec-" + id).c_str(), F_OK) == 0 ? 1 : 0;
    }
    return count;
  }
  std::unique_ptr<TestDaemon> daemon_;
  std::unique_ptr<TestPod> pod_;
};

TEST_F(ShimExec, GivesOutputAndExitCode) {
  const ExecOutcome outcome =
      RunExec(pod_.get(), "c", "e", "echo hello; echo $$ >/dev/null; exit 9");
  EXPECT_EQ(outcome.status, absl::OkStatus());
  EXPECT_EQ(outcome.output, "hello\n");
  EXPECT_EQ(outcome.exit_code, 9);
  EXPECT_TRUE(absl::IsNotFound(Wait("e").status())) << "its id is free again";
  EXPECT_EQ(RunExec(pod_.get(), "c", "e", "kill -9 $$").exit_code, 137);
  EXPECT_TRUE(Eventually([&] { return ExecGroups() == 0; }));
}

TEST_F(ShimExec, RunsInTheContainersCgroups) {
  const ExecOutcome outcome = RunExec(pod_.get(), "c", "e", "cat /proc/self/cgroup");
  if (!pod_->Cgroup("c").V1Hierarchies().empty()) {
    EXPECT_THAT(outcome.output, HasSubstr(":pids:/\n"));
  }
  EXPECT_THAT(outcome.output, HasSubstr("0::/exec-e\n"));
}

TEST_F(ShimExec, IsKilledAsATree) {
  ASSERT_EQ(Processes(), 1U);
  ASSERT_EQ(Begin("e", {"/bin/sh", "-c", "setsid sleep 1000 & (sleep 1000 & sleep 1000) & wait"}),
            absl::OkStatus());
  ASSERT_TRUE(Eventually([&] { return Processes() >= 5; }));
  ASSERT_EQ(Kill("e"), absl::OkStatus());
  EXPECT_EQ(*Wait("e"), 137);
  EXPECT_TRUE(Eventually([&] { return Processes() == 1; }));
  EXPECT_EQ(pod_->State().containers(0).phase(), proto::PHASE_RUNNING);
  EXPECT_TRUE(Eventually([&] { return ExecGroups() == 0; }));
  EXPECT_EQ(Kill("unknown"), absl::OkStatus());
}

TEST_F(ShimExec, ItsGroupGoesWithTheLastProcessLeftInTheBackground) {
  ASSERT_EQ(RunExec(pod_.get(), "c", "f", "true").exit_code, 0);
  ASSERT_TRUE(Eventually([&] { return ExecGroups() == 0; }));
  const size_t before = DescriptorCount(pod_->shim_pid());
  ASSERT_EQ(Begin("e", {"/bin/sh", "-c", "sleep 1 & exit 0"}), absl::OkStatus());
  ASSERT_EQ(*Wait("e"), 0);
  EXPECT_EQ(ExecGroups(), 1U);
  EXPECT_TRUE(Eventually([&] { return ExecGroups() == 0; }));
  EXPECT_TRUE(Eventually([&] { return DescriptorCount(pod_->shim_pid()) <= before; }));
}

TEST_F(ShimExec, IsKilledAsATreeWithoutItsOwnCgroup) {
  // No cgroup of its own can be made where the name is taken by a group that holds processes.
  ASSERT_EQ(Begin("f", {"/bin/sh", "-c", "sleep 1000 & exit 0"}), absl::OkStatus());
  ASSERT_EQ(*Wait("f"), 0);
  ASSERT_EQ(ExecGroups(), 1U);
  const size_t before = Processes();
  ASSERT_EQ(Begin("f", {"/bin/sh", "-c", "(sleep 1000 & sleep 1000) & wait"}), absl::OkStatus());
  ASSERT_TRUE(Eventually([&] { return Processes() >= before + 3; }));
  ASSERT_EQ(Kill("f"), absl::OkStatus());
  EXPECT_EQ(*Wait("f"), 137);
  EXPECT_TRUE(Eventually([&] { return Processes() == before; }));
}

TEST_F(ShimExec, AMissingProgramIsToldVerbatimAndLeavesNothing) {
  ASSERT_EQ(RunExec(pod_.get(), "c", "e", "true").exit_code, 0);
  const size_t before = DescriptorCount(pod_->shim_pid());
  for (int i = 0; i < 100; ++i) {
    const Status status = Begin("e", {"/no/such/program"});
    EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/program"));
  }
  EXPECT_TRUE(absl::IsNotFound(Wait("e").status()));
  EXPECT_TRUE(Eventually([&] { return DescriptorCount(pod_->shim_pid()) <= before; }));
  EXPECT_TRUE(Eventually([&] { return ExecGroups() == 0; }));
}

TEST_F(ShimExec, ATerminalIsHandedOverAndResized) {
  proto::Request request;
  request.mutable_exec()->set_container_id("c");
  request.mutable_exec()->set_exec_id("e");
  request.mutable_exec()->set_process_json(
      pod_->ProcessJson({"/bin/sh", "-c", "read line; stty size; echo end"}, /*terminal=*/true));
  const auto reply = pod_->Call(request);
  ASSERT_TRUE(reply.ok()) << reply.status();
  ASSERT_EQ(reply->fds.size(), 1U);
  proto::Request resize;
  resize.mutable_resize()->set_exec_id("e");
  resize.mutable_resize()->set_width(132);
  resize.mutable_resize()->set_height(43);
  ASSERT_EQ(pod_->Call(resize).status(), absl::OkStatus());
  ASSERT_EQ(write(reply->fds[0].get(), "go\n", 3), 3);
  std::string output;
  ASSERT_TRUE(Eventually([&] {
    char buffer[256];
    const ssize_t size = read(reply->fds[0].get(), buffer, sizeof(buffer));
    if (size > 0) output.append(buffer, static_cast<size_t>(size));
    return output.find("end") != std::string::npos;
  }));
  EXPECT_THAT(output, HasSubstr("43 132"));
  EXPECT_EQ(*Wait("e"), 0);
  resize.mutable_resize()->clear_exec_id();
  resize.mutable_resize()->set_container_id("c");
  EXPECT_TRUE(absl::IsFailedPrecondition(pod_->Call(resize).status())) << "no terminal";
}

TEST_F(ShimExec, IsHungUpOnceNobodyHoldsItsTerminal) {
  proto::Request request;
  request.mutable_exec()->set_container_id("c");
  request.mutable_exec()->set_exec_id("e");
  request.mutable_exec()->set_process_json(pod_->ProcessJson({"/bin/cat"}, /*terminal=*/true));
  auto reply = pod_->Call(request);
  ASSERT_TRUE(reply.ok()) << reply.status();
  proto::Request hang_up;
  hang_up.mutable_kill_exec()->set_exec_id("e");
  hang_up.mutable_kill_exec()->set_hang_up(true);
  ASSERT_EQ(pod_->Call(hang_up).status(), absl::OkStatus());
  EXPECT_EQ(Processes(), 2U) << "the caller still holds it";
  reply->fds.clear();
  EXPECT_EQ(*Wait("e"), 128 + SIGHUP);
}

TEST_F(ShimExec, IsAwaitedWithoutAThread) {
  // The answer, or its absence, comes once.
  const auto wait = [this](const std::string& exec_id) {
    auto answer = std::make_shared<std::promise<StatusOr<int>>>();
    proto::Request request;
    request.mutable_wait_exec()->set_exec_id(exec_id);
    pod_->client().Send(request, {}, [answer](const StatusOr<ReplyWithFds>& reply) {
      answer->set_value(reply.ok() ? StatusOr<int>(reply->reply.wait_exec().exit_code())
                                   : reply.status());
    });
    return answer->get_future();
  };
  EXPECT_TRUE(absl::IsNotFound(wait("unknown").get().status()));
  ASSERT_EQ(Begin("e", {"/bin/sleep", "1000"}), absl::OkStatus());
  ASSERT_EQ(Begin("f", {"/bin/sleep", "1000"}), absl::OkStatus());
  auto killed = wait("e");
  auto lost = wait("f");
  ASSERT_EQ(Kill("e"), absl::OkStatus());
  EXPECT_EQ(*killed.get(), 137);
  pod_->client().Close();
  EXPECT_TRUE(absl::IsUnavailable(lost.get().status()));
  EXPECT_TRUE(absl::IsUnavailable(wait("f").get().status())) << "the connection is closed";
  ASSERT_EQ(pod_->Reconnect(0), absl::OkStatus());
}

TEST_F(ShimExec, NeedsARunningContainer) {
  ASSERT_EQ(pod_->Create(pod_->NewContainer("created", "true")), absl::OkStatus());
  EXPECT_TRUE(absl::IsFailedPrecondition(RunExec(pod_.get(), "created", "e", "true").status));
  EXPECT_TRUE(absl::IsNotFound(RunExec(pod_.get(), "unknown", "e", "true").status));
  ASSERT_EQ(pod_->Signal("c", SIGKILL), absl::OkStatus());
  pod_->AwaitExit("c");
  EXPECT_TRUE(absl::IsFailedPrecondition(RunExec(pod_.get(), "c", "e", "true").status));
}

TEST_F(ShimExec, EndsWithItsContainer) {
  ASSERT_EQ(Begin("e", {"/bin/sleep", "1000"}), absl::OkStatus());
  ASSERT_EQ(pod_->Signal("c", SIGKILL), absl::OkStatus());
  EXPECT_EQ(*Wait("e"), 137);
  EXPECT_EQ(pod_->AwaitExit("c").exit_code(), 137);
}

TEST_F(ShimExec, EndsWithTheConnectionThatAskedForIt) {
  ASSERT_EQ(Begin("e", {"/bin/sh", "-c", "sleep 1000 & wait"}), absl::OkStatus());
  ASSERT_TRUE(Eventually([&] { return Processes() >= 3; }));
  pod_->Disconnect();
  EXPECT_TRUE(Eventually([&] { return Processes() == 1; })) << "the container goes on";
  ASSERT_EQ(pod_->Reconnect(0), absl::OkStatus());
  EXPECT_TRUE(absl::IsNotFound(Wait("e").status()));
  EXPECT_EQ(RunExec(pod_.get(), "c", "e", "exit 4").exit_code, 4);
}

TEST_F(ShimExec, AHundredLeaveNoZombiesAndNoDescriptors) {
  ASSERT_EQ(RunExec(pod_.get(), "c", "first", "true").exit_code, 0);
  const size_t before = DescriptorCount(pod_->shim_pid());
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(RunExec(pod_.get(), "c", absl::StrCat("e", i), "exit 1").exit_code, 1);
  }
  EXPECT_TRUE(Eventually([&] { return DescriptorCount(pod_->shim_pid()) <= before; }));
  EXPECT_TRUE(Eventually([&] { return ExecGroups() == 0; }));
  EXPECT_EQ(Processes(), 1U);
}

}  // namespace
}  // namespace gantry::shim
