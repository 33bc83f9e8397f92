#include "runtime/cgroup_devices.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace gantry::runtime {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

spec::DeviceRule Rule(bool allow, const char* type, std::optional<int64_t> major,
                      std::optional<int64_t> minor, const char* access) {
  return {.allow = allow, .type = type, .major = major, .minor = minor, .access = access};
}

TEST(DeviceWritesV1, FollowTheRulesFromNothing) {
  EXPECT_THAT(DeviceWritesV1({Rule(false, "", {}, {}, "rwm"), Rule(true, "c", 1, 3, "rw"),
                              Rule(true, "b", 8, {}, "r")}),
              ElementsAre(Pair("devices.deny", "a"), Pair("devices.allow", "c 1:3 rw"),
                          Pair("devices.allow", "b 8:* r")));
  EXPECT_THAT(DeviceWritesV1({Rule(true, "a", {}, {}, ""), Rule(false, "a", 1, 11, "w")}),
              ElementsAre(Pair("devices.allow", "a"), Pair("devices.deny", "c 1:11 w"),
                          Pair("devices.deny", "b 1:11 w")));
  EXPECT_THAT(DeviceWritesV1({}), ElementsAre(Pair("devices.deny", "a")));
}

// A child in a group with the rules in force tells what it may do.
class DeviceRulesTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    auto host = DetectCgroupHost();
    ASSERT_TRUE(host.ok()) << host.status();
    const bool v2 = GetParam();
    if (v2 ? host->unified_mount.empty() : !host->v1_mounts.contains("devices"))
      GTEST_SKIP() << "no such hierarchy here";
    const std::string path = absl::StrCat("/gantry-test-devices-", getpid());
    ASSERT_TRUE(CreateCgroup(*host, path).ok());
    paths_ = *CgroupPathsFor(*host, path);
    made_ = true;
    limited_ = paths_;
    if (v2) limited_.v1_dirs.clear();
  }
  void TearDown() override {
    EXPECT_TRUE(!made_ || RemoveCgroup(paths_, std::chrono::seconds(5)).ok());
  }

  // errno of what `act` does inside the group; 0: it succeeded.
  int Inside(const std::function<bool()>& act) {
    const pid_t pid = fork();
    if (pid == 0) {
      if (!JoinCgroup(paths_, getpid()).ok()) _exit(255);
      _exit(act() ? 0 : errno);
    }
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int OpenInside(const char* device, int flags) {
    return Inside([&] { return open(device, flags | O_CLOEXEC) >= 0; });
  }
  int MakeInside(mode_t type, unsigned major, unsigned minor) {
    const std::string path = absl::StrCat(::testing::TempDir(), "/node-", getpid());
    const int error =
        Inside([&] { return mknod(path.c_str(), type | 0600, makedev(major, minor)) == 0; });
    unlink(path.c_str());
    return error;
  }

  CgroupPaths paths_, limited_;
  bool made_ = false;
};

TEST_P(DeviceRulesTest, NothingButTheDefaultsIsAllowed) {
  const Status set = SetDeviceRules(limited_, {});
  ASSERT_TRUE(set.ok()) << set;
  EXPECT_EQ(OpenInside("/dev/null", O_RDWR), 0);
  EXPECT_EQ(OpenInside("/dev/urandom", O_RDONLY), 0);
  EXPECT_EQ(OpenInside("/dev/kmsg", O_RDONLY), EPERM);
  EXPECT_EQ(MakeInside(S_IFCHR, 1, 11), 0);
  EXPECT_EQ(MakeInside(S_IFBLK, 8, 0), 0);
}

TEST_P(DeviceRulesTest, TheLastRuleThatFitsDecides) {
  const auto deny_all = Rule(false, "a", {}, {}, "rwm");
  ASSERT_TRUE(SetDeviceRules(limited_, {deny_all, Rule(true, "c", 1, 11, "r")}).ok());
  EXPECT_EQ(OpenInside("/dev/kmsg", O_RDONLY), 0);
  EXPECT_EQ(OpenInside("/dev/kmsg", O_WRONLY), EPERM);
  // In force in place of the first.
  ASSERT_TRUE(SetDeviceRules(limited_, {deny_all, Rule(true, "c", 1, {}, "rwm"),
                                        Rule(false, "c", 1, 11, "rwm")})
                  .ok());
  EXPECT_EQ(OpenInside("/dev/null", O_RDWR), 0);
}

TEST_P(DeviceRulesTest, AllOpensAllAgain) {
  ASSERT_TRUE(SetDeviceRules(limited_, {}).ok());
  EXPECT_EQ(OpenInside("/dev/kmsg", O_RDONLY), EPERM);
  const Status set =
      SetDeviceRules(limited_, {Rule(false, "", {}, {}, "rwm"), Rule(true, "a", {}, {}, "rwm")});
  ASSERT_TRUE(set.ok()) << set;
  EXPECT_EQ(OpenInside("/dev/kmsg", O_RDONLY), 0);
}

INSTANTIATE_TEST_SUITE_P(Version, DeviceRulesTest, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "V2" : "V1"; });

}  // namespace
}  // namespace gantry::runtime
