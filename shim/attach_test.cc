// Clients attached to containers, through a real shim and its pump.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "runtime/linux/file.h"
#include "shim/test_pod.h"

namespace gantry::shim {
namespace {

using ::testing::HasSubstr;

struct Client {
  UniqueFd in, out, err;
};

class ShimAttach : public ::testing::Test {
 protected:
  void SetUp() override {
    if (runtime::MustSkip()) GTEST_SKIP();
    daemon_ = std::make_unique<TestDaemon>();
    pod_ = std::make_unique<TestPod>(daemon_.get());
  }

  Status Run(const std::string& script, bool with_stdin, bool terminal = false) {
    spec::Spec spec = pod_->SpecFor(script);
    spec.process->terminal = terminal;
    proto::CreateContainer create = pod_->NewContainer("c", spec);
    create.set_stdin(with_stdin);
    RETURN_IF_ERROR(pod_->Create(create));
    return pod_->Start("c");
  }

  StatusOr<Client> Attach(bool in, bool out, bool err) {
    proto::Request request;
    request.mutable_attach()->set_container_id("c");
    request.mutable_attach()->set_stdin(in);
    request.mutable_attach()->set_stdout(out);
    request.mutable_attach()->set_stderr(err);
    ASSIGN_OR_RETURN(ReplyWithFds reply, pod_->Call(request));
    Client client;
    size_t next = 0;
    if (reply.reply.attach().stdin()) client.in = std::move(reply.fds[next++]);
    if (reply.reply.attach().stdout()) client.out = std::move(reply.fds[next++]);
    if (reply.reply.attach().stderr()) client.err = std::move(reply.fds[next++]);
    EXPECT_EQ(next, reply.fds.size());
    return client;
  }

  Status CloseStdin() {
    proto::Request request;
    request.mutable_close_stdin()->set_container_id("c");
    return pod_->Call(request).status();
  }

  static void Say(const Client& client, const std::string& text) {
    EXPECT_EQ(write(client.in.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

  // Reads until `text` has come or the stream has ended; what came.
  static std::string ReadUntil(const UniqueFd& fd, const std::string& text) {
    std::string read_text;
    char buffer[65536];
    while (text.empty() || read_text.find(text) == std::string::npos) {
      pollfd readable = {fd.get(), POLLIN, 0};
      if (poll(&readable, 1, 20000) <= 0) return read_text + " (nothing more came)";
      const ssize_t size = read(fd.get(), buffer, sizeof buffer);
      if (size <= 0) return read_text;
      read_text.append(buffer, static_cast<size_t>(size));
    }
    return read_text;
  }

  std::unique_ptr<TestDaemon> daemon_;
  std::unique_ptr<TestPod> pod_;
};

TEST_F(ShimAttach, ClientsTalkWithTheContainerAndTheLogHasItAll) {
  ASSERT_EQ(Run("while read line; do echo \"got $line\"; echo \"err $line\" >&2; done; echo end",
                /*with_stdin=*/true),
            absl::OkStatus());
  auto one = Attach(true, true, true);
  auto two = Attach(false, true, false);
  ASSERT_TRUE(one.ok() && two.ok()) << one.status() << two.status();
  EXPECT_FALSE(two->in.valid());
  EXPECT_FALSE(two->err.valid());
  Say(*one, "a\nb\n");
  EXPECT_EQ(ReadUntil(one->out, "got b\n"), "got a\ngot b\n");
  EXPECT_EQ(ReadUntil(one->err, "err b\n"), "err a\nerr b\n");
  EXPECT_EQ(ReadUntil(two->out, "got b\n"), "got a\ngot b\n");

  // A client that leaves takes nothing with it; its stdin's end is not the container's.
  *one = Client();
  two = Attach(true, true, false);
  Say(*two, "c\n");
  EXPECT_EQ(ReadUntil(two->out, "got c\n"), "got c\n");

  ASSERT_EQ(CloseStdin(), absl::OkStatus());
  two->in.Reset();
  EXPECT_EQ(pod_->AwaitExit("c").exit_code(), 0);
  EXPECT_EQ(ReadUntil(two->out, ""), "end\n") << "and the end of the stream";
  EXPECT_THAT(pod_->LogLines("c"), testing::IsSupersetOf({"stdout F got a", "stderr F err b",
                                                          "stdout F got c", "stdout F end"}));
  EXPECT_TRUE(absl::IsFailedPrecondition(Attach(true, true, true).status()));
}

TEST_F(ShimAttach, ATerminalIsOneStreamBothWays) {
  ASSERT_EQ(Run("stty -echo; echo ready; read line; echo \"got $line\"; read line",
                /*with_stdin=*/true, /*terminal=*/true),
            absl::OkStatus());
  auto client = Attach(true, true, true);
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_FALSE(client->err.valid());
  ASSERT_TRUE(Eventually([&] { return !pod_->LogLines("c").empty(); }));
  Say(*client, "hello\n");
  EXPECT_THAT(ReadUntil(client->out, "got hello\r\n"), HasSubstr("got hello\r\n"));
}

TEST_F(ShimAttach, AContainerWithoutAStdinHasNoneToGive) {
  ASSERT_EQ(Run("sleep 1000", /*with_stdin=*/false), absl::OkStatus());
  const auto client = Attach(true, true, false);
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_FALSE(client->in.valid());
  EXPECT_TRUE(client->out.valid());
}

TEST_F(ShimAttach, AClientThatDoesNotReadIsDroppedAndNothingWaitsForIt) {
  ASSERT_EQ(Run("while [ ! -e /tmp/go ]; do sleep 0.05; done; yes 0123456789 | head -c 8000000",
                /*with_stdin=*/false),
            absl::OkStatus());
  const auto stuck = Attach(false, true, false);
  ASSERT_TRUE(stuck.ok()) << stuck.status();
  RunExec(pod_.get(), "c", "go", "touch /tmp/go");
  EXPECT_EQ(pod_->AwaitExit("c").exit_code(), 0);
  const std::string got = ReadUntil(stuck->out, "");
  EXPECT_LT(got.size(), 8000000U) << "it was dropped, with what it was behind";
  EXPECT_GT(got.size(), 0U);
}

// Else it would wait for ever for what does not come any more.
TEST_F(ShimAttach, AClientThatIsDroppedLosesBothStreams) {
  ASSERT_EQ(Run("while [ ! -e /tmp/go ]; do sleep 0.05; done; yes 0123456789 | head -c 8000000; "
                "sleep 1000",
                /*with_stdin=*/false),
            absl::OkStatus());
  const auto stuck = Attach(false, true, true);
  ASSERT_TRUE(stuck.ok()) << stuck.status();
  RunExec(pod_.get(), "c", "go", "touch /tmp/go");
  EXPECT_EQ(ReadUntil(stuck->err, ""), "") << "its end, while the container runs";
  EXPECT_LT(ReadUntil(stuck->out, "").size(), 8000000U);
  EXPECT_EQ(pod_->State().containers(0).phase(), proto::PHASE_RUNNING);
}

TEST_F(ShimAttach, AClientOfAnInteractiveContainerMissesNothing) {
  ASSERT_EQ(Run("read line; yes 0123456789 | head -c 8000000", /*with_stdin=*/true),
            absl::OkStatus());
  const auto slow = Attach(true, true, false);
  ASSERT_TRUE(slow.ok()) << slow.status();
  Say(*slow, "go\n");
  EXPECT_FALSE(Eventually(
      [&] { return pod_->State().containers(0).phase() == proto::PHASE_EXITED; }, absl::Seconds(1)))
      << "it is waited for";
  EXPECT_EQ(ReadUntil(slow->out, "").size(), 8000000U);
  EXPECT_EQ(pod_->AwaitExit("c").exit_code(), 0);
}

TEST_F(ShimAttach, ClientsThatComeAndGoLeaveNothing) {
  ASSERT_EQ(Run("sleep 1000", /*with_stdin=*/true), absl::OkStatus());
  ASSERT_TRUE(Attach(true, true, true).ok());
  const pid_t pump = pod_->pump_pid();
  ASSERT_TRUE(Eventually([&] { return DescriptorCount(pump) > 0; }));
  absl::SleepFor(absl::Milliseconds(100));
  const size_t before = DescriptorCount(pod_->shim_pid());
  const size_t pump_before = DescriptorCount(pump);
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(Attach(true, true, true).ok());
  EXPECT_TRUE(Eventually([&] { return DescriptorCount(pod_->shim_pid()) <= before; }));
  EXPECT_TRUE(Eventually([&] { return DescriptorCount(pump) <= pump_before; }));
  EXPECT_TRUE(absl::IsNotFound([&] {
    proto::Request request;
    request.mutable_attach()->set_container_id("unknown");
    return pod_->Call(request).status();
  }()));
}

}  // namespace
}  // namespace gantry::shim
