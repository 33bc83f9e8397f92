#include "runtime/linux/process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/linux/descriptor_bin.h"
#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/spawn.h"

namespace gantry {
namespace {

using ::testing::HasSubstr;

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

Pipe MakePipe() {
  int ends[2];
  GANTRY_CHECK(pipe2(ends, O_CLOEXEC) == 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

ExitStatus Wait(const ClonedProcess& process) {
  const auto status = WaitPidFd(process.pidfd.get(), /*block=*/true);
  EXPECT_TRUE(status.ok() && status->has_value()) << status.status();
  return status.ok() ? status->value_or(ExitStatus{}) : ExitStatus{};
}

TEST(Spawn, TheChildHasTheDescriptorsItIsGivenAndNoOther) {
  Pipe out = MakePipe();
  SpawnRequest request;
  request.path = "/bin/sh";
  request.args = {
      "sh", "-c",
      "echo out; echo err >&2; echo five >&5; for f in /proc/$$/fd/*; do echo ${f##*/}; done"};
  // 1 and 2 crosswise onto one pipe, and 5.
  request.fds = {{out.write_end.get(), 1}, {out.write_end.get(), 2}, {out.write_end.get(), 5}};
  auto process = Spawn(request);
  ASSERT_TRUE(process.ok()) << process.status();
  out.write_end.Reset();
  const std::string text = *ReadAll(out.read_end.get(), "pipe");
  EXPECT_TRUE(text.starts_with("out\nerr\nfive\n")) << text;
  EXPECT_NE(text.find("\n5\n"), std::string::npos) << text;
  EXPECT_EQ(Wait(*process).Code(), 0);
}

TEST(Spawn, SwappedDescriptorsDoNotCoverEachOther) {
  Pipe first = MakePipe();
  Pipe second = MakePipe();
  SpawnRequest request;
  request.path = "/bin/sh";
  request.args = {"sh", "-c", "echo a >&\"$A\"; echo b >&\"$B\""};
  const int a = first.write_end.get();
  const int b = second.write_end.get();
  ASSERT_LT(a, 10);
  ASSERT_LT(b, 10);
  request.env = {"A=" + std::to_string(b), "B=" + std::to_string(a)};
  request.fds = {{a, b}, {b, a}};
  auto process = Spawn(request);
  ASSERT_TRUE(process.ok()) << process.status();
  first.write_end.Reset();
  second.write_end.Reset();
  EXPECT_EQ(*ReadAll(first.read_end.get(), "pipe"), "a\n");
  EXPECT_EQ(*ReadAll(second.read_end.get(), "pipe"), "b\n");
  EXPECT_EQ(Wait(*process).Code(), 0);
}

TEST(Spawn, SignalsAreAtTheirDefaultsAndUnblocked) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  Pipe out = MakePipe();
  SpawnRequest request;
  request.path = "/bin/grep";
  request.args = {"grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"};
  request.fds = {{out.write_end.get(), 1}};
  auto process = Spawn(request);
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_DFL);
  ASSERT_TRUE(process.ok()) << process.status();
  out.write_end.Reset();
  EXPECT_EQ(*ReadAll(out.read_end.get(), "pipe"),
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
  EXPECT_EQ(Wait(*process).Code(), 0);
}

TEST(Spawn, AMissingProgramIsNamed) {
  SpawnRequest request;
  request.path = "/nonsuch";
  request.args = {"nonsuch"};
  EXPECT_EQ(Spawn(request).status().message(), "spawn /nonsuch: No such file or directory");
}

// Debian's own v2 mount point, or the hybrid one.
std::string OwnUnifiedGroup() {
  for (const char* top : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"})
    if (access((std::string(top) + "/cgroup.procs").c_str(), W_OK) == 0)
      return std::string(top) + "/gantry-spawn-test-" + std::to_string(getpid());
  return "";
}

TEST(Spawn, TheChildIsBornInTheGroupThatItIsGiven) {
  const std::string group = OwnUnifiedGroup();
  if (group.empty() || mkdir(group.c_str(), 0755) != 0) GTEST_SKIP() << "no cgroup v2 to write to";
  const UniqueFd directory(open(group.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  signal(SIGPIPE, SIG_IGN);
  Pipe out = MakePipe();
  SpawnRequest request;
  request.path = "/bin/sh";
  request.args = {
      "sh", "-c",
      "cat /proc/self/cgroup; grep SigIgn /proc/self/status; ps -o sid= -p $$; echo $$; "
      "ls /proc/self/fd | wc -l"};
  request.env = {"PATH=/bin:/usr/bin"};
  request.fds = {{out.write_end.get(), 1}};
  request.new_session = true;
  request.cgroup_fd = directory.get();
  auto process = Spawn(request);
  ASSERT_TRUE(process.ok()) << process.status();
  out.write_end.Reset();
  const std::string text = *ReadAll(out.read_end.get(), "pipe");
  EXPECT_EQ(Wait(*process).Code(), 0) << text;
  signal(SIGPIPE, SIG_DFL);
  EXPECT_THAT(text, HasSubstr("0::/gantry-spawn-test-"));
  EXPECT_THAT(text, HasSubstr("SigIgn:\t0000000000000000"));

  request.path = "/nonsuch";
  EXPECT_EQ(Spawn(request).status().message(), "spawn /nonsuch: No such file or directory");
  rmdir(group.c_str());
}

TEST(Clone, TheChildsExitIsReadFromItsPidfd) {
  auto child = Clone(CloneRequest{});
  ASSERT_TRUE(child.ok()) << child.status();
  if (child->pid == 0) _exit(42);
  EXPECT_EQ(Wait(*child).Code(), 42);
}

TEST(Clone, ASignalIsToldFromAnExitCode) {
  auto child = Clone(CloneRequest{});
  ASSERT_TRUE(child.ok()) << child.status();
  if (child->pid == 0) {
    while (true) pause();
  }
  EXPECT_FALSE(WaitPidFd(child->pidfd.get(), /*block=*/false)->has_value());
  EXPECT_TRUE(SignalPidFd(child->pidfd.get(), SIGTERM).ok());
  const ExitStatus status = Wait(*child);
  EXPECT_TRUE(status.signaled);
  EXPECT_EQ(status.Code(), 128 + SIGTERM);
  EXPECT_TRUE(SignalPidFd(child->pidfd.get(), SIGTERM).ok()) << "it needs none any more";
}

TEST(Process, StartTimeIsTheKernels) {
  const auto own = ProcessStartTime(getpid());
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_GT(*own, *ProcessStartTime(1) - 1);
  EXPECT_EQ(*own, *ProcessStartTime(getpid()));
  EXPECT_FALSE(ProcessStartTime(0).ok());
}

TEST(Process, IgnoredSignalsAreRead) {
  signal(SIGHUP, SIG_IGN);
  const auto ignored = IgnoredSignals();
  signal(SIGHUP, SIG_DFL);
  ASSERT_TRUE(ignored.ok());
  EXPECT_EQ(*ignored >> (SIGHUP - 1) & 1, 1U);
  EXPECT_EQ(*ignored >> (SIGTERM - 1) & 1, 0U);
}

TEST(Process, AllButTheKeptDescriptorsAreClosed) {
  auto child = Clone(CloneRequest{});
  ASSERT_TRUE(child.ok());
  if (child->pid == 0) {
    const int kept = fcntl(0, F_DUPFD_CLOEXEC, 20);
    const int other = fcntl(0, F_DUPFD_CLOEXEC, 10);
    const int above = fcntl(0, F_DUPFD_CLOEXEC, 30);
    const bool closed = CloseFdsExcept({kept, 1, -1}).ok();
    const bool right = fcntl(kept, F_GETFD) >= 0 && fcntl(other, F_GETFD) < 0 &&
                       fcntl(above, F_GETFD) < 0 && fcntl(2, F_GETFD) >= 0;
    _exit(closed && right ? 0 : 1);
  }
  EXPECT_EQ(Wait(*child).Code(), 0);
}

TEST(DescriptorBin, ClosesWhatIsInItAndNothingBetween) {
  UniqueFd between;
  int first = -1;
  int last = -1;
  {
    DescriptorBin bin;
    UniqueFd a(fcntl(0, F_DUPFD_CLOEXEC, 40));
    between.Reset(fcntl(0, F_DUPFD_CLOEXEC, 41));
    UniqueFd b(fcntl(0, F_DUPFD_CLOEXEC, 42));
    first = a.get();
    last = b.get();
    bin.Add(std::move(b));
    bin.Add(std::move(a));
    EXPECT_GE(fcntl(first, F_GETFD), 0);
  }
  EXPECT_LT(fcntl(first, F_GETFD), 0);
  EXPECT_GE(fcntl(between.get(), F_GETFD), 0);
  EXPECT_LT(fcntl(last, F_GETFD), 0);
}

}  // namespace
}  // namespace gantry
