// Logs when things go wrong with them: a pump that dies, a disk that is full, a disk that does not
// answer.
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "runtime/linux/file.h"
#include "runtime/linux/process.h"
#include "shim/test_pod.h"

namespace gantry::shim {
namespace {

class ShimPump : public ::testing::Test {
 protected:
  void SetUp() override {
    if (runtime::MustSkip()) GTEST_SKIP();
    daemon_ = std::make_unique<TestDaemon>();
    pod_ = std::make_unique<TestPod>(daemon_.get());
  }
  std::unique_ptr<TestDaemon> daemon_;
  std::unique_ptr<TestPod> pod_;
};

TEST_F(ShimPump, AFloodLosesNothing) {
  ASSERT_EQ(
      pod_->Run("c",
                "i=0; while [ $i -lt 200 ]; do head -c 100000 /dev/zero; i=$((i+1)); done; echo"),
      absl::OkStatus());
  const proto::ExitRecord exit = pod_->AwaitExit("c");
  EXPECT_EQ(exit.exit_code(), 0);
  EXPECT_FALSE(exit.log_incomplete());
  size_t bytes = 0;
  for (const std::string& line : pod_->LogLines("c")) bytes += line.size() - 9;
  EXPECT_EQ(bytes, 20'000'000U);
}

// From /proc/PID/io (proc(5)), which not every kernel has.
std::optional<size_t> ReadsOf(pid_t pid) {
  const auto text = ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", pid, "/io"));
  if (ErrnoOf(text.status()) == ENOENT) return std::nullopt;
  size_t reads = 0;
  const std::string line = text->substr(text->find("syscr:"));
  EXPECT_EQ(sscanf(line.c_str(), "syscr: %zu", &reads), 1);
  return reads;
}

TEST_F(ShimPump, ThousandsOfSmallWritesAreReadInLargePieces) {
  constexpr size_t kLines = 20'000;
  ASSERT_EQ(pod_->Run("c", absl::StrCat("i=0; while [ $i -lt ", kLines,
                                        " ]; do echo $i; i=$((i+1)); done; "
                                        "while [ ! -e /tmp/go-reads ]; do sleep 0.01; done")),
            absl::OkStatus());
  ASSERT_TRUE(Eventually([&] { return pod_->LogLines("c").size() == kLines; }));
  const auto reads = ReadsOf(pod_->pump_pid());
  if (reads) {
    EXPECT_GT(*reads, 1U);
    EXPECT_LT(*reads, kLines / 4) << "the pump was awake for each line";
  }
  ASSERT_EQ(CreateFileAt(AT_FDCWD, daemon_->box().rootfs() + "/tmp/go-reads", "", 0644),
            absl::OkStatus());
  EXPECT_EQ(pod_->AwaitExit("c").exit_code(), 0);
  const std::vector<std::string> lines = pod_->LogLines("c");
  ASSERT_EQ(lines.size(), kLines);
  for (size_t i = 0; i < kLines; ++i) ASSERT_EQ(lines[i], absl::StrCat("stdout F ", i));
  if (!reads) GTEST_SKIP() << "this kernel does not count the reads of a process";
}

TEST_F(ShimPump, ANewOneGoesOnWhereTheLastOneDied) {
  ASSERT_EQ(pod_->Run("c", "echo one; while [ ! -e /tmp/go-pump ]; do sleep 0.01; done; echo two"),
            absl::OkStatus());
  ASSERT_TRUE(Eventually([&] { return pod_->LogLines("c").size() == 1; }));
  const pid_t first = pod_->pump_pid();
  ASSERT_EQ(kill(first, SIGKILL), 0);
  ASSERT_TRUE(Eventually([&] { return pod_->pump_pid() != first; }));
  ASSERT_EQ(CreateFileAt(AT_FDCWD, daemon_->box().rootfs() + "/tmp/go-pump", "", 0644),
            absl::OkStatus());
  EXPECT_FALSE(pod_->AwaitExit("c").log_incomplete());
  EXPECT_EQ(pod_->LogLines("c"), (std::vector<std::string>{"stdout F one", "stdout F two"}));
}

TEST_F(ShimPump, ANewOneThatCannotOpenTheLogStillReads) {
  ASSERT_EQ(pod_->Run("c",
                      "echo one; while [ ! -e /tmp/go-lost ]; do sleep 0.01; done; "
                      "head -c 1000000 /dev/zero; exit 5"),
            absl::OkStatus());
  ASSERT_TRUE(Eventually([&] { return pod_->LogLines("c").size() == 1; }));
  const std::string logs = pod_->dir() + "/logs";
  ASSERT_EQ(rename(logs.c_str(), (logs + ".gone").c_str()), 0);
  ASSERT_EQ(CreateFileAt(AT_FDCWD, logs, "in the way", 0644), absl::OkStatus());
  const pid_t first = pod_->pump_pid();
  ASSERT_EQ(kill(first, SIGKILL), 0);
  ASSERT_TRUE(Eventually([&] { return pod_->pump_pid() != first; }));
  ASSERT_EQ(CreateFileAt(AT_FDCWD, daemon_->box().rootfs() + "/tmp/go-lost", "", 0644),
            absl::OkStatus());
  const proto::ExitRecord exit = pod_->AwaitExit("c");
  EXPECT_EQ(exit.exit_code(), 5) << "the workload is not held up";
  EXPECT_TRUE(exit.log_incomplete());
}

TEST_F(ShimPump, AFullDiskIsToldAndKillsNobody) {
  const std::string logs = pod_->dir() + "/logs";
  ASSERT_EQ(mkdir(logs.c_str(), 0755), 0);
  ASSERT_EQ(mount("full", logs.c_str(), "tmpfs", 0, "size=64k"), 0);
  const absl::Cleanup unmount = [&logs] { umount2(logs.c_str(), MNT_DETACH); };
  ASSERT_EQ(pod_->Run("c", "head -c 1000000 /dev/zero | tr '\\0' '\\n'; exit 6"), absl::OkStatus());
  const proto::ExitRecord exit = pod_->AwaitExit("c");
  EXPECT_NE(exit.exit_code(), -1);
  EXPECT_TRUE(exit.log_incomplete());
}

// An ext4 on a loop device, frozen: every write to it sleeps without end, and no signal ends that.
class FrozenDisk {
 public:
  explicit FrozenDisk(const std::string& dir) : image_(dir + "/image"), mount_(dir + "/logs") {
    mkdir(mount_.c_str(), 0755);
    ready_ = Shell("truncate -s 16M " + image_ + " && mkfs.ext4 -q -F " + image_ +
                   " && mount -o loop " + image_ + " " + mount_);
  }
  ~FrozenDisk() {
    Thaw();
    if (ready_) Shell("umount -l " + mount_);
  }
  [[nodiscard]] bool ready() const { return ready_; }
  bool Freeze() { return Shell("fsfreeze -f " + mount_); }
  void Thaw() { Shell("fsfreeze -u " + mount_ + " 2>/dev/null"); }

 private:
  static bool Shell(const std::string& command) { return system(command.c_str()) == 0; }
  std::string image_, mount_;
  bool ready_ = false;
};

TEST_F(ShimPump, AFrozenDiskHoldsUpNothingButTheLog) {
  FrozenDisk disk(pod_->dir());
  if (!disk.ready()) GTEST_SKIP() << "needs a loop device, mkfs.ext4 and fsfreeze";
  ASSERT_EQ(pod_->Run("c", "while :; do echo line; sleep 0.01; done"), absl::OkStatus());
  ASSERT_EQ(pod_->Run("quiet", "sleep 1000"), absl::OkStatus());
  ASSERT_TRUE(Eventually([&] { return !pod_->LogLines("c").empty(); }));
  ASSERT_TRUE(disk.Freeze());
  const std::string stat_path = absl::StrCat("/proc/", pod_->pump_pid(), "/stat");
  ASSERT_TRUE(Eventually([&] {
    return ReadFileAt(AT_FDCWD, stat_path)->find(") D ") != std::string::npos;
  })) << "the pump sleeps on the disk";
  const absl::Time begin = absl::Now();
  EXPECT_EQ(RunExec(pod_.get(), "quiet", "e", "echo works").output, "works\n");
  EXPECT_EQ(pod_->State().containers_size(), 2);
  proto::CreateContainer other = pod_->NewContainer("other", "exit 2");
  other.set_log_path("");
  ASSERT_EQ(pod_->Create(other), absl::OkStatus());
  ASSERT_EQ(pod_->Start("other"), absl::OkStatus());
  EXPECT_EQ(pod_->AwaitExit("other").exit_code(), 2);
  EXPECT_LT(absl::Now() - begin, absl::Seconds(3));
  // A stop: the exit is told after the bound, without the rest of the log.
  ASSERT_EQ(pod_->Signal("c", SIGKILL), absl::OkStatus());
  const proto::ExitRecord exit = pod_->AwaitExit("c");
  EXPECT_EQ(exit.exit_code(), 137);
  EXPECT_TRUE(exit.log_incomplete());
  EXPECT_GE(absl::FromUnixNanos(exit.finished_at_ns()), begin);
  EXPECT_EQ(pod_->Delete("c"), absl::OkStatus());
  EXPECT_TRUE(absl::IsUnavailable(pod_->ReopenLog("quiet")));
  disk.Thaw();
  EXPECT_TRUE(Eventually([&] { return pod_->ReopenLog("quiet").ok(); }));
  ASSERT_EQ(pod_->Delete("quiet"), absl::OkStatus());
}

}  // namespace
}  // namespace gantry::shim
