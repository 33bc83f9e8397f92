// Mounts of a container: binds as they were asked for, and images that try to lead them elsewhere.
#include "runtime/mounts.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"
#include "runtime/linux/mount.h"
#include "runtime/linux/namespace.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/process.h"
#include "runtime/test_container.h"

namespace gantry::runtime {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Mounts : public ::testing::Test {
 protected:
  void SetUp() override {
    if (MustSkip()) GTEST_SKIP() << "needs root and busybox";
    source_ = container_.dir() + "/source";
    fs::create_directories(source_ + "/sub");
    ASSERT_TRUE(CreateFileAt(AT_FDCWD, source_ + "/file", "content\n", 0644).ok());
    outside_ = container_.dir() + "/outside";
  }

  void AddBind(const std::string& destination, const std::string& source,
               std::vector<std::string> options) {
    container_.spec.mounts.push_back({destination, "bind", source, std::move(options), {}, {}});
  }

  std::string Output(const std::string& script) {
    const Outcome outcome = container_.Run(script);
    EXPECT_TRUE(outcome.status.ok()) << outcome.status;
    return outcome.output;
  }

  std::string Error() { return std::string(container_.Run("true").status.message()); }

  void ExpectNothingOutside() {
    EXPECT_TRUE(fs::is_empty(outside_)) << *fs::directory_iterator(outside_);
  }

  void Replace(const std::string& name, const std::string& link_target) {
    fs::remove_all(container_.rootfs() + name);
    fs::create_symlink(link_target, container_.rootfs() + name);
  }

  TestContainer container_;
  std::string source_;
  std::string outside_;
};

TEST_F(Mounts, ADirectoryAndAFileAreBoundAndTheirTargetsMade) {
  AddBind("/data/deep", source_, {"rbind"});
  AddBind("/etc/one", source_ + "/file", {"bind", "ro"});
  EXPECT_EQ(Output("cat /data/deep/file /etc/one; touch /data/deep/new && echo made;"
                   "echo x > /etc/one || true"),
            "content\ncontent\nmade\n/bin/sh: can't create /etc/one: Read-only file system\n");
  EXPECT_TRUE(fs::exists(source_ + "/new"));
}

// Runs in a mount namespace of its own, so that what is mounted for the test goes with the thread.
class MountsOfTheHost : public Mounts {
 protected:
  void SetUp() override {
    Mounts::SetUp();
    if (IsSkipped()) return;
    ASSERT_TRUE(Unshare(CLONE_NEWNS).ok());
    ASSERT_TRUE(Mount("", "/", "", MS_PRIVATE | MS_REC).ok());
    ASSERT_TRUE(Mount("shared", source_, "tmpfs", 0).ok());
    ASSERT_TRUE(Mount("", source_, "", MS_SHARED).ok());
    fs::create_directories(source_ + "/sub");
    ASSERT_TRUE(Mount("below", source_ + "/sub", "tmpfs", 0).ok());
    fs::create_directories(source_ + "/late");
  }
  void TearDown() override {
    while (umount2(source_.c_str(), MNT_DETACH) == 0) continue;
  }
};

TEST_F(MountsOfTheHost, ReadOnlyIsForTheMountAndRecursiveReadOnlyForAllBelow) {
  AddBind("/ro", source_, {"rbind", "ro", "rprivate"});
  AddBind("/rro", source_, {"rbind", "rro", "rprivate"});
  EXPECT_EQ(
      Output(
          "for f in /ro/x /ro/sub/x /rro/x /rro/sub/x; do touch $f 2>/dev/null && echo $f; done"),
      "/ro/sub/x\n");
}

TEST_F(MountsOfTheHost, HostMountsMadeLaterAppearUnderASlaveAndNotUnderAPrivate) {
  AddBind("/slave", source_, {"rbind", "rslave"});
  AddBind("/private", source_, {"rbind", "rprivate"});
  container_.spec.linux_.rootfs_propagation = "rslave";
  auto container = container_.Create("ls /slave/late /private/late");
  ASSERT_TRUE(container.ok()) << container.status();
  ASSERT_TRUE(Mount("late", source_ + "/late", "tmpfs", 0).ok());
  fs::create_directories(source_ + "/late/seen");
  ASSERT_TRUE(container->creation().Start().ok());
  ASSERT_TRUE(DriveUntil(container->creation(), Creation::Step::kRunning).ok());
  EXPECT_EQ(container->Finish().output, "/private/late:\n\n/slave/late:\nseen\n");
}

TEST_F(MountsOfTheHost, AMountInASharedVolumeAppearsOnTheHost) {
  AddBind("/shared", source_, {"rbind", "rshared"});
  container_.spec.linux_.rootfs_propagation = "rshared";
  container_.spec.process->capabilities->bounding.push_back("CAP_SYS_ADMIN");
  container_.spec.process->capabilities->effective.push_back("CAP_SYS_ADMIN");
  container_.spec.process->capabilities->permitted.push_back("CAP_SYS_ADMIN");
  auto container =
      container_.Start("mount -t tmpfs made /shared/late && mkdir /shared/late/inside && cat");
  ASSERT_TRUE(container.ok()) << container.status();
  const Outcome outcome = container->Finish();
  EXPECT_EQ(outcome.output, "");
  EXPECT_TRUE(fs::exists(source_ + "/late/inside"));
}

TEST_F(Mounts, ALinkInThePlaceOfDevProcOrSysIsRefused) {
  for (const char* name : {"/dev", "/proc", "/sys"}) {
    Replace(name, outside_);
    EXPECT_THAT(Error(), HasSubstr(absl::StrCat("mount \"", name, "\": \"", name,
                                                "\" in the image is not a directory")));
    fs::remove(container_.rootfs() + name);
    ExpectNothingOutside();
  }
}

TEST_F(Mounts, ATargetThatLeadsOutIsMadeInsideOfTheRoot) {
  Replace("/absolute", outside_);
  Replace("/climbing", "../../../../../../.." + outside_);
  AddBind("/absolute/a", source_, {"rbind"});
  AddBind("/climbing/b", source_ + "/file", {"bind"});
  EXPECT_EQ(Output(absl::StrCat("cat /absolute/a/file /climbing/b ", outside_, "/a/file")),
            "content\ncontent\ncontent\n");
  ExpectNothingOutside();
}

TEST_F(Mounts, DevicesAreNotMadeThroughALinkInDev) {
  container_.spec.mounts.erase(container_.spec.mounts.begin() + 1, container_.spec.mounts.end());
  Replace("/dev", outside_);
  EXPECT_THAT(Error(), HasSubstr("set up /dev: "));
  ExpectNothingOutside();
}

TEST_F(Mounts, AWorkingDirectoryIsNotMadeThroughALinkThatLeadsOut) {
  Replace("/srv", outside_);
  container_.spec.process->cwd = "/srv/work";
  EXPECT_EQ(container_.Run("true").exit_code, 0);
  ExpectNothingOutside();
}

TEST_F(Mounts, AMaskedPathIsNotFollowedOut) {
  ASSERT_TRUE(CreateFileAt(AT_FDCWD, outside_ + "/file", "content\n", 0644).ok());
  Replace("/secret", outside_ + "/file");
  container_.spec.linux_.masked_paths.push_back("/secret");
  EXPECT_EQ(container_.Run("true").exit_code, 0);
}

// Swaps a directory of a volume with a link that leads out, as fast as it can, while containers
// mount there.
TEST_F(Mounts, ARaceAgainstTheTargetWinsNothing) {
  fs::create_directories(source_ + "/target");
  fs::create_symlink(outside_, source_ + "/link");
  AddBind("/volume", source_, {"rbind"});
  container_.spec.mounts.push_back({"/volume/target/deep", "tmpfs", "race", {}, {}, {}});
  StatusOr<ClonedProcess> attacker = Clone(CloneRequest{});
  ASSERT_TRUE(attacker.ok());
  if (attacker->pid == 0) {
    const std::string a = source_ + "/target";
    const std::string b = source_ + "/link";
    while (true) renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE);
  }
  // Each start either works or fails; none may touch what lies outside.
  for (int i = 0; i < 50; ++i) (void)container_.Run("true");
  EXPECT_TRUE(SignalPidFd(attacker->pidfd.get(), SIGKILL).ok());
  EXPECT_TRUE(WaitPidFd(attacker->pidfd.get(), /*block=*/true).ok());
  ExpectNothingOutside();
}

TEST_F(Mounts, NothingIsMountedInsideOfProc) {
  AddBind("/proc/self/attr", source_, {"rbind"});
  EXPECT_EQ(Error(), "mount \"/proc/self/attr\": nothing may be mounted inside of /proc");
  container_.spec.mounts.back().destination = "/proc";
  EXPECT_EQ(Error(), "mount \"/proc\": only proc can be mounted there");
}

TEST_F(Mounts, AWorkingDirectoryInADescriptorIsRefused) {
  for (int fd = 0; fd < 16; ++fd) {
    container_.spec.process->cwd = absl::StrCat("/proc/self/fd/", fd);
    EXPECT_FALSE(container_.Run("pwd").status.ok()) << fd;
  }
}

TEST_F(Mounts, OptionsThatTheFileSystemDoesNotKnowAreTold) {
  container_.spec.mounts.push_back({"/t", "tmpfs", "tmpfs", {"nonsense=1"}, {}, {}});
  EXPECT_THAT(Error(), HasSubstr("tmpfs: Unknown parameter 'nonsense'"));
}

}  // namespace
}  // namespace gantry::runtime
