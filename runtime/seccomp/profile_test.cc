#include "runtime/seccomp/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <fstream>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "runtime/seccomp/default_table.h"

namespace gantry::seccomp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Environment kPlain = {.capabilities = {"CAP_CHOWN"}, .kernel_major = 6, .kernel_minor = 1};

std::set<std::string> HeaderNames(const char* file) {
  std::set<std::string> names;
  std::ifstream in(absl::StrCat("/usr/include/x86_64-linux-gnu/asm/", file));
  for (std::string line; std::getline(in, line);) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (words.size() == 3 && absl::StartsWith(words[1], "__NR_")) names.insert(words[1].substr(5));
  }
  return names;
}

// What looks at arguments, in default_profile.cc.
const std::set<std::string> kSpecial = {"clone", "clone3", "personality", "socket"};

TEST(DefaultTable, SortsEveryCallOfTheKernelsHeaders) {
  const std::set<std::string> allowed = absl::StrSplit(default_table::kAllowed, ' ');
  const std::set<std::string> refused = absl::StrSplit(default_table::kRefused, ' ');
  for (const std::string& name : allowed) EXPECT_FALSE(refused.contains(name)) << name;
  const std::set<std::string> amd64 = HeaderNames("unistd_64.h");
  if (amd64.empty()) GTEST_SKIP() << "no kernel headers for amd64 here";
  size_t refused_amd64 = 0;
  for (const char* file : {"unistd_64.h", "unistd_32.h"}) {
    for (const std::string& name : HeaderNames(file)) {
      EXPECT_TRUE(allowed.contains(name) || refused.contains(name) || kSpecial.contains(name))
          << name << " is neither allowed nor refused";
    }
  }
  for (const std::string& name : amd64) refused_amd64 += refused.contains(name) ? 1 : 0;
  EXPECT_EQ(refused_amd64 + 1, 67u) << "with clone3: what containerd refuses by default";
}

TEST(DefaultTable, UnlocksOnlyWhatIsRefused) {
  const std::set<std::string> refused = absl::StrSplit(default_table::kRefused, ' ');
  for (const auto& unlock : default_table::kUnlocks) {
    EXPECT_TRUE(absl::StartsWith(unlock.capability, "CAP_"));
    for (const std::string& name : std::vector<std::string>(absl::StrSplit(unlock.names, ' ')))
      EXPECT_TRUE(refused.contains(name) || kSpecial.contains(name)) << name;
  }
}

TEST(ParseProfile, ReadsTheOciForm) {
  const auto profile = ParseProfile(R"({
    "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64"],
    "flags": ["SECCOMP_FILTER_FLAG_LOG"],
    "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                 {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22,
                  "args": [{"index": 0, "value": 255, "valueTwo": 1,
        "op": "SCMP_CMP_MASKED_EQ"}]}]})",
                                    kPlain);
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_EQ(profile->default_action, Action::kErrno);
  EXPECT_EQ(profile->default_error, 38u);
  EXPECT_THAT(profile->architectures, ElementsAre("SCMP_ARCH_X86_64"));
  ASSERT_EQ(profile->rules.size(), 2u);
  EXPECT_THAT(profile->rules[0].names, ElementsAre("read", "write"));
  EXPECT_EQ(profile->rules[1].error, 22u);
  EXPECT_EQ(profile->rules[1].conditions[0].value, 255u);
  EXPECT_EQ(profile->rules[1].conditions[0].comparison, Comparison::kMaskedEqual);
}

TEST(ParseProfile, DecidesDockersConditions) {
  constexpr char kDocker[] = R"({
    "defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOSYS",
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86",
        "SCMP_ARCH_X32"]},
                {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}],
    "syscalls": [
      {"names": ["a"], "action": "SCMP_ACT_ALLOW", "args": null, "includes": {}, "excludes": {}},
      {"names": ["b"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
      {"names": ["c"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
      {"names": ["d"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
      {"names": ["e"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
      {"names": ["f"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390"]}},
      {"names": ["g"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "arm64"]}},
      {"name": "h", "action": "SCMP_ACT_ERRNO", "errno": "EINVAL"}]})";
  const auto names = [&](std::set<std::string> capabilities) {
    const auto profile = ParseProfile(
        kDocker, {.capabilities = std::move(capabilities), .kernel_major = 6, .kernel_minor = 1});
    EXPECT_TRUE(profile.ok()) << profile.status();
    std::string all;
    for (const Rule& rule : profile->rules) all += rule.names[0];
    EXPECT_EQ(profile->default_error, uint32_t{ENOSYS});
    EXPECT_EQ(profile->rules.back().error, uint32_t{EINVAL});
    return all;
  };
  EXPECT_EQ(names({}), "acdgh");
  EXPECT_EQ(names({"CAP_SYS_ADMIN"}), "abdgh");
#if defined(__x86_64__)
  EXPECT_THAT(ParseProfile(kDocker, kPlain)->architectures,
              ElementsAre("SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_X86_64"));
#endif
}

TEST(ParseProfile, NamesWhatIsWrong) {
  const auto error = [](absl::string_view json) {
    const auto profile = ParseProfile(json, kPlain);
    EXPECT_TRUE(absl::IsInvalidArgument(profile.status())) << json;
    return std::string(profile.status().message());
  };
  EXPECT_THAT(error("{"), HasSubstr("seccomp profile: JSON: malformed at byte"));
  EXPECT_THAT(error("{}"), HasSubstr("seccomp profile: defaultAction: is missing"));
  EXPECT_THAT(error(R"({"defaultAction":"ALLOW"})"),
              HasSubstr("defaultAction: \"ALLOW\" is not known"));
  EXPECT_THAT(error(R"({"defaultAction":"SCMP_ACT_NOTIFY"})"),
              HasSubstr("SCMP_ACT_NOTIFY is not supported"));
  const auto rule_error = [&](absl::string_view rule) {
    return error(absl::StrCat(R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[)", rule, "]}"));
  };
  EXPECT_THAT(rule_error(R"({"names":["x"],"action":"X"})"),
              HasSubstr("syscalls[0].action: \"X\""));
  EXPECT_THAT(rule_error(R"({"action":"SCMP_ACT_ALLOW"})"),
              HasSubstr("syscalls[0].names: is empty"));
  EXPECT_THAT(rule_error(R"({"names":["x"],"action":"SCMP_ACT_ERRNO","errnoRet":5000})"),
              HasSubstr("syscalls[0].errnoRet: 5000 is not an errno"));
  EXPECT_THAT(
      rule_error(
          R"({"names":["x"],"action":"SCMP_ACT_ERRNO","args":[{"index":6,"op":"SCMP_CMP_EQ"}]})"),
      HasSubstr("syscalls[0].args[0].index: is over 5"));
  EXPECT_THAT(
      rule_error(R"({"names":["x"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,"op":"="}]})"),
      HasSubstr("syscalls[0].args[0].op: \"=\""));
  EXPECT_THAT(error(R"({"defaultAction":"SCMP_ACT_ALLOW","architectures":["x"]})"),
              HasSubstr("architectures: \"x\""));
  EXPECT_THAT(error(R"({"defaultAction":"SCMP_ACT_ALLOW","flags":["x"]})"),
              HasSubstr("flags: \"x\""));
}

}  // namespace
}  // namespace gantry::seccomp
