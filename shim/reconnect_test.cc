// What survives of a pod when gantryd, or its shim, has gone.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "runtime/linux/file.h"
#include "runtime/linux/process.h"
#include "shim/journal.h"
#include "shim/test_pod.h"

namespace gantry::shim {
namespace {

using ::testing::ElementsAre;

class ShimReconnect : public ::testing::Test {
 protected:
  void SetUp() override {
    if (runtime::MustSkip()) GTEST_SKIP();
    daemon_ = std::make_unique<TestDaemon>();
    pod_ = std::make_unique<TestPod>(daemon_.get());
  }
  std::unique_ptr<TestDaemon> daemon_;
  std::unique_ptr<TestPod> pod_;
};

TEST_F(ShimReconnect, WhatEndedMeanwhileIsToldWithItsTrueCode) {
  ASSERT_EQ(pod_->Run("c", "while [ ! -e /tmp/go-away ]; do sleep 0.01; done; echo last; exit 42"),
            absl::OkStatus());
  const proto::HelloReply before = pod_->State();
  pod_->Disconnect();
  ASSERT_EQ(CreateFileAt(AT_FDCWD, daemon_->box().rootfs() + "/tmp/go-away", "", 0644),
            absl::OkStatus());
  // The log is written, the exit recorded, with nobody there.
  ASSERT_TRUE(Eventually([&] {
    const auto journal = ReadJournal(pod_->dir());
    return journal.ok() && journal->containers.at("c").has_exit();
  }));
  EXPECT_THAT(pod_->LogLines("c"), ElementsAre("stdout F last"));
  ASSERT_EQ(pod_->Reconnect(0), absl::OkStatus());
  EXPECT_EQ(pod_->AwaitExit("c").exit_code(), 42);
  const proto::HelloReply after = pod_->State();
  EXPECT_EQ(after.pod_id(), "testpod");
  EXPECT_EQ(after.shim_pid(), pod_->shim_pid());
  EXPECT_EQ(after.shim_start_time(), *ProcessStartTime(pod_->shim_pid()));
  ASSERT_EQ(after.containers_size(), 1);
  EXPECT_EQ(after.containers(0).phase(), proto::PHASE_EXITED);
  EXPECT_EQ(after.containers(0).exit().exit_code(), 42);
  EXPECT_EQ(after.containers(0).pid(), before.containers(0).pid());
  EXPECT_EQ(after.containers(0).started_at_ns(), before.containers(0).started_at_ns());
}

TEST_F(ShimReconnect, EventsAreKeptUntilAcknowledged) {
  for (const char* id : {"a", "b", "c"}) {
    ASSERT_EQ(pod_->Run(id, "true"), absl::OkStatus());
    pod_->AwaitExit(id);
  }
  ASSERT_EQ(pod_->Reconnect(1), absl::OkStatus());
  ASSERT_TRUE(Eventually([&] { return pod_->Events().size() == 2; }));
  EXPECT_EQ(pod_->Events()[0].sequence(), 2U);
  EXPECT_EQ(pod_->Events()[1].sequence(), 3U);
  proto::Request request;
  request.mutable_acknowledge_events()->set_sequence(2);
  ASSERT_EQ(pod_->Call(request).status(), absl::OkStatus());
  ASSERT_EQ(pod_->Reconnect(0), absl::OkStatus());
  ASSERT_TRUE(Eventually([&] { return pod_->Events().size() == 1; }));
  EXPECT_EQ(pod_->Events()[0].container_id(), "c");
  EXPECT_EQ(pod_->State().last_sequence(), 3U);
}

TEST_F(ShimReconnect, ANewHelloTakesOver) {
  std::atomic<bool> lost = false;
  auto first = daemon_->reactor().Add(ConnectSocket(pod_->dir()).value(),
                                      {.on_event = {}, .on_disconnect = [&lost] { lost = true; }});
  proto::Request request;
  request.mutable_create_pod();
  EXPECT_TRUE(absl::IsFailedPrecondition(first->Call(request).status())) << "before Hello";
  EXPECT_FALSE(pod_->disconnected());
  request.mutable_hello()->set_version(99);
  EXPECT_TRUE(absl::IsUnimplemented(first->Call(request).status())) << "unknown version";
  EXPECT_FALSE(pod_->disconnected());
  request.mutable_hello()->set_version(kProtocolVersion);
  ASSERT_EQ(first->Call(request).status(), absl::OkStatus());
  EXPECT_TRUE(Eventually([&] { return pod_->disconnected(); }));
  ASSERT_EQ(pod_->Reconnect(0), absl::OkStatus());
  EXPECT_TRUE(Eventually([&] { return lost.load(); }));
}

TEST_F(ShimReconnect, GarbageClosesItsConnectionAndNothingElse) {
  ASSERT_EQ(pod_->Run("c", "sleep 1000"), absl::OkStatus());
  const std::vector<std::string> hostile = {
      "\xff\xff\xff\xff garbage", std::string(64, '\0'),
      std::string("\0\0\0\4\0\0\0\1\1\0\xff\xff\xff\xff", 14)};
  for (const std::string& bytes : hostile) {
    const UniqueFd socket = ConnectSocket(pod_->dir()).value();
    ASSERT_EQ(WriteAll(socket.get(), bytes, "socket"), absl::OkStatus());
    char answer;
    EXPECT_EQ(read(socket.get(), &answer, 1), 0) << "the shim hangs up";
  }
  EXPECT_EQ(pod_->State().containers(0).phase(), proto::PHASE_RUNNING);
}

TEST_F(ShimReconnect, ItsSocketIsForRootAlone) {
  struct stat info {};
  ASSERT_EQ(stat((pod_->dir() + "/shim.sock").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
}

TEST_F(ShimReconnect, OfADeadShimTheJournalTellsTheRest) {
  ASSERT_EQ(pod_->Run("ended", "exit 3"), absl::OkStatus());
  pod_->AwaitExit("ended");
  ASSERT_EQ(pod_->Run("runs", "sleep 1000"), absl::OkStatus());
  pod_->KillShim();
  EXPECT_TRUE(Eventually([&] { return pod_->disconnected(); }));
  proto::Request request;
  request.mutable_hello();
  EXPECT_TRUE(absl::IsUnavailable(pod_->Call(request).status()));
  EXPECT_TRUE(absl::IsUnavailable(ConnectSocket(pod_->dir()).status()));
  const JournalContents journal = ReadJournal(pod_->dir()).value();
  EXPECT_EQ(journal.shim.pid, pod_->shim_pid());
  EXPECT_EQ(journal.containers.at("ended").exit().exit_code(), 3);
  const proto::ContainerState& runs = journal.containers.at("runs");
  EXPECT_EQ(runs.phase(), proto::PHASE_RUNNING);
  EXPECT_EQ(*ProcessStartTime(runs.pid()), runs.pid_start_time()) << "it runs on, and can be found";
  // The pump ends by itself when the container's output does.
  ASSERT_EQ(KillCgroup(pod_->Cgroup("runs")), absl::OkStatus());
  EXPECT_TRUE(Eventually([&] {
    const auto start = ProcessStartTime(journal.pump.pid);
    return !start.ok() || *start != journal.pump.start_time ||
           ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", journal.pump.pid, "/cmdline"))->empty();
  })) << "the pump lives";
}

TEST_F(ShimReconnect, ACallThatNobodyAnswersEndsAtItsTimeout) {
  ASSERT_EQ(pod_->Run("c", "sleep 1000"), absl::OkStatus());
  ASSERT_EQ(kill(pod_->shim_pid(), SIGSTOP), 0);
  auto client = daemon_->reactor().Add(ConnectSocket(pod_->dir()).value(), {});
  proto::Request request;
  request.mutable_hello()->set_version(kProtocolVersion);
  EXPECT_TRUE(absl::IsDeadlineExceeded(client->Call(request, {}, absl::Milliseconds(50)).status()));
  client->Close();
  EXPECT_TRUE(absl::IsUnavailable(client->Call(request).status()));
  ASSERT_EQ(kill(pod_->shim_pid(), SIGCONT), 0);
  ASSERT_EQ(pod_->Reconnect(0), absl::OkStatus());
}

}  // namespace
}  // namespace gantry::shim
