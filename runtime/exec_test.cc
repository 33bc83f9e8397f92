// A further process in a running container.
#include "runtime/exec.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"
#include "runtime/test_container.h"

namespace gantry::runtime {
namespace {

using ::testing::HasSubstr;

class Exec : public ::testing::Test {
 protected:
  void SetUp() override {
    if (MustSkip()) GTEST_SKIP() << "needs root and busybox";
    auto container = container_.Start("exec sleep 60");
    ASSERT_TRUE(container.ok()) << container.status();
    running_.emplace(std::move(*container));
    process_ = *container_.spec.process;
  }

  // Drives an exec to its end.
  Outcome Run(const std::string& script) {
    if (!script.empty()) process_.args = {"/bin/sh", "-c", script};
    OutputPipe output = MakeOutputPipe();
    request_.process = &process_;
    request_.container_pid = running_->creation().pid();
    request_.container_pidfd = running_->creation().pidfd();
    request_.stdio[1] = request_.stdio[2] = output.write_end.get();
    auto exec = ExecOperation::Begin(request_);
    if (!exec.ok()) return {exec.status(), -1, ""};
    output.write_end.Reset();
    Status status = Drive(*exec);
    EXPECT_GT(exec->pid(), 0);
    UniqueFd terminal = exec->TakeTerminal();
    Outcome outcome{status, -1, Drain(terminal.valid() ? terminal.get() : output.read_end.get())};
    Reap(*exec, outcome);
    return outcome;
  }

  static Status Drive(ExecOperation& exec) {
    while (exec.poll_fd() >= 0) {
      struct pollfd readable = {exec.poll_fd(), POLLIN, 0};
      if (poll(&readable, 1, 10'000) != 1) return absl::DeadlineExceededError("no step");
      ASSIGN_OR_RETURN(const ExecOperation::Step step, exec.OnReadable());
      if (step == ExecOperation::Step::kRunning) break;
    }
    return absl::OkStatus();
  }

  static void Reap(ExecOperation& exec, Outcome& outcome) {
    const auto middle = OpenPidFd(exec.middle_pid());
    ASSERT_TRUE(middle.ok());
    ASSERT_TRUE(WaitPidFd(middle->get(), /*block=*/true).ok());
    const auto status = WaitPidFd(exec.pidfd(), /*block=*/true);
    ASSERT_TRUE(status.ok() && status->has_value()) << status.status();
    outcome.exit_code = (*status)->Code();
  }

  TestContainer container_;
  std::optional<RunningContainer> running_;
  spec::Process process_;
  ExecRequest request_;
};

TEST_F(Exec, TheProcessIsInTheContainersNamespaces) {
  const Outcome outcome = Run("hostname; cat /proc/1/cmdline; test $$ -gt 1 && echo child; pwd");
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.output, std::string("box\nsleep\00060\0child\n/\n", 21));
}

TEST_F(Exec, TheExitCodeIsTheProcesses) { EXPECT_EQ(Run("exit 9").exit_code, 9); }

TEST_F(Exec, IdentityAndLimitsAreItsOwn) {
  process_.user = {.uid = 1000, .gid = 1000, .umask = {}, .additional_gids = {7}};
  process_.capabilities.reset();
  process_.cwd = "/tmp";
  EXPECT_EQ(Run("id -u; id -G; pwd; echo $HOME; grep CapBnd /proc/self/status").output,
            "1000\n1000 7\n/tmp\n/home/user\nCapBnd:\t0000000000000000\n");
}

TEST_F(Exec, NoDescriptorButThreeIsLeft) {
  process_.args = {"/bin/ls", "/proc/self/fd"};
  EXPECT_EQ(Run("").output, "0\n1\n2\n3\n");
}

TEST_F(Exec, ATerminalIsOfTheContainersDevpts) {
  process_.terminal = true;
  EXPECT_EQ(Run("tty").output, "/dev/pts/0\r\n");
}

TEST_F(Exec, AMissingProgramIsNamed) {
  process_.args = {"nonsuch"};
  const Outcome outcome = Run("");
  EXPECT_EQ(outcome.status.message(), "exec \"nonsuch\": not found in PATH");
  EXPECT_EQ(outcome.exit_code, 1);
}

TEST_F(Exec, AMissingWorkingDirectoryIsNamed) {
  process_.cwd = "/nonsuch";
  EXPECT_EQ(Run("true").status.message(),
            "working directory \"/nonsuch\": open /nonsuch: No such file or directory");
}

TEST_F(Exec, AWorkingDirectoryInADescriptorIsRefused) {
  for (int fd = 0; fd < 16; ++fd) {
    process_.cwd = absl::StrCat("/proc/self/fd/", fd);
    EXPECT_FALSE(Run("pwd").status.ok()) << fd;
  }
}

TEST_F(Exec, ItEntersTheCgroupsItIsGiven) {
  const std::string v1 = absl::StrCat("/sys/fs/cgroup/pids/gantry-exec-test-", getpid());
  const std::string v2 = absl::StrCat("/sys/fs/cgroup/unified/gantry-exec-test-", getpid());
  if (mkdir(v1.c_str(), 0755) != 0 || mkdir(v2.c_str(), 0755) != 0) {
    rmdir(v1.c_str());
    GTEST_SKIP() << "needs cgroup v1 pids and v2 at /sys/fs/cgroup/unified";
  }
  request_.v1_cgroup_dirs = {v1};
  StatusOr<UniqueFd> unified = OpenAt(AT_FDCWD, v2, O_PATH | O_DIRECTORY);
  ASSERT_TRUE(unified.ok());
  request_.cgroup_fd = unified->get();
  // Seen through the container's cgroup namespace.
  const std::string output = Run("cat /proc/self/cgroup").output;
  EXPECT_THAT(output, HasSubstr("pids:/gantry-exec-test-"));
  EXPECT_THAT(output, HasSubstr("0::/gantry-exec-test-"));
  EXPECT_EQ(rmdir(v1.c_str()), 0);
  EXPECT_EQ(rmdir(v2.c_str()), 0);
}

}  // namespace
}  // namespace gantry::runtime
