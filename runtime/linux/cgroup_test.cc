#include "runtime/linux/cgroup.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"
#include "runtime/linux/process.h"

namespace gantry {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr char kProcCgroups[] =
    "#subsys_name\thierarchy\tnum_"
    "cgroups\tenabled\ncpuset\t3\t1\t1\ncpu\t1\t1\t1\ncpuacct\t1\t1\t1\nmemory\t4\t1\t1\n";

TEST(ParseCgroupHost, KnowsTheThreeLayouts) {
  const auto unified = ParseCgroupHost(
      "24 1 0:21 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n", kProcCgroups);
  ASSERT_TRUE(unified.ok()) << unified.status();
  EXPECT_EQ(unified->layout(), CgroupLayout::kUnified);
  EXPECT_EQ(unified->unified_mount, "/sys/fs/cgroup");

  const std::string v1 =
      "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
      "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 master:2 - cgroup cgroup "
      "rw,cpuacct,cpu\n"
      "33 31 0:30 / /sys/fs/cgroup/a\\040b rw - cgroup cgroup rw,memory\n"
      "34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,name=systemd\n"
      "35 31 0:30 /part /elsewhere rw - cgroup cgroup rw,memory\n";
  const auto legacy = ParseCgroupHost(v1, kProcCgroups);
  ASSERT_TRUE(legacy.ok()) << legacy.status();
  EXPECT_EQ(legacy->layout(), CgroupLayout::kLegacy);
  EXPECT_EQ(legacy->v1_mounts.at("cpu"), "/sys/fs/cgroup/cpu,cpuacct");
  EXPECT_EQ(legacy->v1_mounts.at("cpuacct"), "/sys/fs/cgroup/cpu,cpuacct");
  EXPECT_EQ(legacy->v1_mounts.at("memory"), "/sys/fs/cgroup/a b");
  EXPECT_EQ(legacy->v1_mounts.at("name=systemd"), "/sys/fs/cgroup/systemd");
  EXPECT_EQ(legacy->v1_mounts.size(), 4u);

  const auto hybrid = ParseCgroupHost(
      v1 + "36 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n", kProcCgroups);
  ASSERT_TRUE(hybrid.ok()) << hybrid.status();
  EXPECT_EQ(hybrid->layout(), CgroupLayout::kHybrid);
  EXPECT_FALSE(ParseCgroupHost("24 1 0:21 / / rw - ext4 x rw\n", "").ok());
}

TEST(CgroupPathsFor, FollowsTheHierarchies) {
  CgroupHost host{.unified_mount = "/u",
                  .v1_mounts = {{"cpu", "/cpu,x"}, {"x", "/cpu,x"}, {"memory", "/m"}}};
  const auto paths = CgroupPathsFor(host, "/pods/a");
  ASSERT_TRUE(paths.ok()) << paths.status();
  EXPECT_EQ(paths->unified_dir, "/u/pods/a");
  EXPECT_THAT(paths->V1Hierarchies(), ElementsAre("/cpu,x/pods/a", "/m/pods/a"));
  EXPECT_EQ(paths->DirOf("cpu"), "/cpu,x/pods/a");
  EXPECT_EQ(paths->DirOf("pids"), "/u/pods/a");
  EXPECT_EQ(paths->OomFile(), "/m/pods/a/memory.oom_control");
  host.v1_mounts.clear();
  EXPECT_EQ(CgroupPathsFor(host, "/a")->OomFile(), "/u/a/memory.events");
  for (const char* bad : {"", "/", "a", "/a/../b", "/a//b", "/a/", "/./a"})
    EXPECT_TRUE(absl::IsInvalidArgument(CgroupPathsFor(host, bad).status())) << bad;
}

// Everything below one group of the test's own, on the machine's real hierarchies.
class CgroupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    auto host = DetectCgroupHost();
    ASSERT_TRUE(host.ok()) << host.status();
    host_ = *host;
    parent_ = absl::StrCat("/gantry-test-", getpid());
  }
  void TearDown() override {
    if (parent_.empty()) return;
    const auto paths = CgroupPathsFor(host_, parent_);
    ASSERT_TRUE(KillCgroup(*paths).ok());
    for (const pid_t pid : children_) waitpid(pid, nullptr, 0);
    EXPECT_TRUE(RemoveCgroup(*paths, seconds(5)).ok());
  }

  CgroupPaths Make(const std::string& path) {
    const Status status = CreateCgroup(host_, parent_ + path);
    EXPECT_TRUE(status.ok()) << status;
    return *CgroupPathsFor(host_, parent_ + path);
  }

  // A process that waits to be killed.
  pid_t Sleeper() {
    const pid_t pid = fork();
    if (pid == 0) {
      while (true) pause();
    }
    children_.push_back(pid);
    return pid;
  }

  // The signal that ended the process, after waiting for it.
  int SignalOf(pid_t pid) {
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    std::erase(children_, pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  }

  CgroupHost host_;
  std::string parent_;
  std::vector<pid_t> children_;
};

TEST_F(CgroupTest, MakesJoinsKillsAndRemovesInEveryHierarchy) {
  const CgroupPaths paths = Make("/pod/container");
  for (const std::string& dir : paths.V1Hierarchies())
    EXPECT_EQ(access(dir.c_str(), F_OK), 0) << dir;
  const pid_t pid = Sleeper();
  ASSERT_TRUE(JoinCgroup(paths, pid).ok());
  const auto membership = ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", pid, "/cgroup"));
  ASSERT_TRUE(membership.ok());
  EXPECT_THAT(*membership, HasSubstr(parent_ + "/pod/container"));
  EXPECT_THAT(*CgroupProcesses(paths), ElementsAre(pid));
  EXPECT_TRUE(absl::IsAlreadyExists(CreateCgroup(host_, parent_ + "/pod/container")));
  EXPECT_EQ(ErrnoOf(RemoveCgroup(paths)), EBUSY);

  ASSERT_TRUE(KillCgroup(paths).ok());
  EXPECT_EQ(SignalOf(pid), SIGKILL);
  const Status removed = RemoveCgroup(paths, seconds(5));
  EXPECT_TRUE(removed.ok()) << removed;
  for (const std::string& dir : paths.V1Hierarchies())
    EXPECT_NE(access(dir.c_str(), F_OK), 0) << dir;
  EXPECT_TRUE(RemoveCgroup(paths).ok());
  EXPECT_TRUE(KillCgroup(paths).ok());
  EXPECT_THAT(*CgroupProcesses(paths), IsEmpty());
}

TEST_F(CgroupTest, TakesOverAnEmptyGroup) {
  Make("/a");
  EXPECT_TRUE(CreateCgroup(host_, parent_ + "/a").ok());
}

TEST_F(CgroupTest, KillsChildGroupsAndRemovesThem) {
  const CgroupPaths paths = Make("/c");
  const auto exec = CreateChildCgroup(paths, "exec-1");
  ASSERT_TRUE(exec.ok()) << exec.status();
  EXPECT_FALSE(CreateChildCgroup(paths, "../x").ok());
  const pid_t init = Sleeper();
  const pid_t other = Sleeper();
  ASSERT_TRUE(JoinCgroup(paths, init).ok());
  const Status joined = JoinCgroup(*exec, other);
  ASSERT_TRUE(joined.ok()) << joined;
  EXPECT_THAT(*CgroupProcesses(paths), UnorderedElementsAre(init, other));

  ASSERT_TRUE(KillCgroup(*exec).ok());
  EXPECT_EQ(SignalOf(other), SIGKILL);
  EXPECT_TRUE(RemoveCgroup(*exec, seconds(5)).ok());
  EXPECT_THAT(*CgroupProcesses(paths), ElementsAre(init));
  ASSERT_TRUE(CreateChildCgroup(paths, "exec-2").ok());
  ASSERT_TRUE(KillCgroup(paths).ok());
  EXPECT_EQ(SignalOf(init), SIGKILL);
  const Status removed = RemoveCgroup(paths, seconds(5));
  EXPECT_TRUE(removed.ok()) << removed;
}

TEST_F(CgroupTest, KillsWithoutCgroupKill) {
  CgroupPaths paths = Make("/v1");
  if (paths.v1_dirs.empty()) GTEST_SKIP() << "no v1 hierarchy here";
  const pid_t first = Sleeper();
  const pid_t second = Sleeper();
  ASSERT_TRUE(JoinCgroup(paths, first).ok());
  ASSERT_TRUE(JoinCgroup(paths, second).ok());
  CgroupPaths v1_only = paths;
  v1_only.unified_dir.clear();
  EXPECT_THAT(*CgroupProcesses(v1_only), UnorderedElementsAre(first, second));
  ASSERT_TRUE(KillCgroup(v1_only).ok());
  EXPECT_EQ(SignalOf(first), SIGKILL);
  EXPECT_EQ(SignalOf(second), SIGKILL);
  EXPECT_TRUE(RemoveCgroup(paths, seconds(5)).ok());
}

TEST_F(CgroupTest, LeavesNothingWhenItFails) {
  Make("");
  CgroupHost broken = host_;
  broken.v1_mounts["zz"] = "/proc";  // mkdir fails there
  const Status status = CreateCgroup(broken, parent_ + "/x");
  EXPECT_FALSE(status.ok());
  const CgroupPaths paths = *CgroupPathsFor(host_, parent_ + "/x");
  for (const std::string& dir : paths.V1Hierarchies())
    EXPECT_NE(access(dir.c_str(), F_OK), 0) << dir;
  EXPECT_NE(access(paths.unified_dir.c_str(), F_OK), 0);
}

TEST_F(CgroupTest, FindsWhereAProcessOfTheGroupIs) {
  const CgroupPaths paths = Make("/delegated");
  if (paths.unified_dir.empty()) GTEST_SKIP() << "no cgroup2 is mounted here";
  ASSERT_EQ(mkdir((paths.unified_dir + "/init.scope").c_str(), 0755), 0);
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  for (const char* below : {"", "/init.scope"}) {
    const std::string group = paths.unified_dir + below;
    ASSERT_TRUE(WriteFileAt(AT_FDCWD, group + "/cgroup.procs", absl::StrCat(child)).ok());
    const auto found = UnifiedGroupBelow(paths.unified_dir, child);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(*found, group);
  }
  EXPECT_EQ(UnifiedGroupBelow(paths.unified_dir + "-other", child).status().code(),
            absl::StatusCode::kNotFound);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

TEST_F(CgroupTest, ReadsTheOomCounter) {
  const CgroupPaths paths = Make("/m");
  const auto count = OomKillCount(paths.OomFile());
  ASSERT_TRUE(count.ok()) << count.status();
  EXPECT_EQ(*count, 0u);
  EXPECT_FALSE(OomKillCount(paths.DirOf("memory") + "/cgroup.procs").ok());
}

}  // namespace
}  // namespace gantry
