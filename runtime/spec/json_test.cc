#include "runtime/spec/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace gantry::spec {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// One of everything that we read.
constexpr char kEverything[] = R"({
  "ociVersion": "1.2.0",
  "process": {
    "terminal": true, "consoleSize": {"height": 24, "width": 80},
    "user": {"uid": 1000, "gid": 4294967294, "umask": 18, "additionalGids": [5, 6]},
    "args": ["sh", "-c", "echo é"], "env": ["A=b"], "cwd": "/work",
    "capabilities": {"bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"],
        "permitted": ["CAP_CHOWN"],
                     "inheritable": [], "ambient": ["CAP_CHOWN"]},
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 18446744073709551615}],
    "noNewPrivileges": true, "apparmorProfile": "p", "selinuxLabel": "l", "oomScoreAdj": -100},
  "root": {"path": "rootfs", "readonly": true},
  "hostname": "h", "domainname": "d",
  "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
             {"destination": "/data", "source": "/host", "options": ["rbind", "rro"],
              "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
              "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}]}],
  "hooks": {"prestart": [{"path": "/a"}], "createRuntime": [{"path": "/b", "args": ["b", "1"]}],
            "createContainer": [{"path": "/c", "env": ["X=1"]}], "startContainer": [{"path": "/d"}],
            "poststart": [{"path": "/e", "timeout": 5}], "poststop": [{"path": "/f"}]},
  "annotations": {"k": "v"},
  "linux": {
    "namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/x"}],
    "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
    "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
    "devices": [{"path": "/dev/x", "type": "c", "major": 10, "minor": 229, "fileMode": 438,
        "uid": 0, "gid": 1}],
    "cgroupsPath": "/pods/x",
    "resources": {
      "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1,
        "minor": 3, "access": "r"}],
      "memory": {"limit": 100, "reservation": 50, "swap": -1, "disableOOMKiller": true},
      "cpu": {"shares": 1024, "quota": -1, "period": 100000, "burst": 10, "idle": 1, "cpus": "0-1",
        "mems": "0"},
      "blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}]},
      "pids": {"limit": 42}, "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
      "unified": {"memory.high": "100"}},
    "rootfsPropagation": "slave",
    "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64"],
                "flags": ["SECCOMP_FILTER_FLAG_LOG"],
                "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"},
                             {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                              "args": [{"index": 0, "value": 2114060288, "valueTwo": 0,
        "op": "SCMP_CMP_MASKED_EQ"}]}]},
    "sysctl": {"net.ipv4.ip_forward": "1"}, "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
    "mountLabel": "m"}
})";

TEST(ParseSpec, ReadsEveryMember) {
  const auto spec = ParseSpec(kEverything);
  ASSERT_TRUE(spec.ok()) << spec.status();
  ASSERT_TRUE(spec->process.has_value());
  EXPECT_EQ(spec->process->console_size->width, 80u);
  EXPECT_EQ(spec->process->user.gid, 4294967294u);
  EXPECT_EQ(spec->process->user.umask, 18u);
  EXPECT_THAT(spec->process->args, ElementsAre("sh", "-c", "echo é"));
  EXPECT_EQ(spec->process->rlimits[0].hard, UINT64_MAX);
  EXPECT_EQ(spec->process->oom_score_adj, -100);
  EXPECT_TRUE(spec->root.readonly);
  EXPECT_THAT(spec->mounts[1].options, ElementsAre("rbind", "rro"));
  EXPECT_EQ(spec->mounts[1].uid_mappings[0].host_id, 1000u);
  EXPECT_EQ(spec->hooks.poststart[0].timeout, 5);
  EXPECT_EQ(spec->linux_.namespaces[1].path, "/run/netns/x");
  EXPECT_EQ(spec->linux_.devices[0].file_mode, 0666u);
  EXPECT_EQ(spec->linux_.resources->memory->swap, -1);
  EXPECT_EQ(spec->linux_.resources->block_io->read_bps[0].rate, 1000u);
  EXPECT_EQ(spec->linux_.resources->unified.at("memory.high"), "100");
  EXPECT_EQ(spec->linux_.seccomp->syscalls[1].args[0].value, 0x7E020000u);
  EXPECT_EQ(spec->linux_.seccomp->default_errno_ret, 38u);
}

TEST(ToJson, RoundTripsEveryMember) {
  const auto spec = ParseSpec(kEverything);
  ASSERT_TRUE(spec.ok()) << spec.status();
  const std::string written = ToJson(*spec);
  const auto again = ParseSpec(written);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(ToJson(*again), written);
  // Every scalar of the input is in the output.
  for (const char* part :
       {"\"umask\":18", "\"hard\":18446744073709551615", "\"timeout\":5", "\"weight\":500",
        "\"disableOOMKiller\":true", "\"mems\":\"0\"", "\"op\":\"SCMP_CMP_MASKED_EQ\"",
        "\"mountLabel\":\"m\"", "\"poststop\":[{\"path\":\"/f\"}]", "\"limit\":42",
        "\"ambient\":[\"CAP_CHOWN\"]", "\"fileMode\":438", "\"domainname\":\"d\""}) {
    EXPECT_THAT(written, HasSubstr(part));
  }
  const auto process = ParseProcess(ToJson(*spec->process));
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_EQ(ToJson(*process), ToJson(*spec->process));
  const auto resources = ParseResources(ToJson(*spec->linux_.resources));
  ASSERT_TRUE(resources.ok()) << resources.status();
  EXPECT_EQ(ToJson(*resources), ToJson(*spec->linux_.resources));
}

TEST(ToJson, KeepsAReadOnlyRootThatComesWithoutAPath) {
  Spec spec;
  spec.root.readonly = true;
  const auto again = ParseSpec(ToJson(spec));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->root.readonly);
}

TEST(ToJson, KeepsAnEmptyCapabilitySetApartFromNone) {
  Process process;
  process.args = {"true"};
  EXPECT_FALSE(ParseProcess(ToJson(process))->capabilities.has_value());
  process.capabilities.emplace();
  EXPECT_TRUE(ParseProcess(ToJson(process))->capabilities.has_value());
}

TEST(ParseSpec, NamesThePathOfAWrongType) {
  const auto error = [](absl::string_view json) {
    return std::string(ParseSpec(json).status().message());
  };
  EXPECT_EQ(error(R"({"ociVersion":"1.0.2","mounts":[{"destination":"/a"},{"source":5}]})"),
            "config.json: mounts[1].source: must be a string, not number");
  EXPECT_EQ(error(R"({"ociVersion":"1.0.2","process":{"user":{"uid":4294967296}}})"),
            "config.json: process.user.uid: 4294967296 is out of range");
  EXPECT_EQ(error(R"({"ociVersion":"1.0.2","process":{"args":"sh"}})"),
            "config.json: process.args: must be an array of strings");
  EXPECT_EQ(error("[]"), "config.json: document: must be an object, not array");
  EXPECT_EQ(error("{}"), "config.json: ociVersion: is missing");
  EXPECT_THAT(error(R"({"ociVersion":"1.0.2","root":{"path":"a","path":"b"}})"),
              HasSubstr("root.path: the key occurs twice"));
}

TEST(ParseSpec, IgnoresUnknownKeysAndRefusesKnownOnesItCannotHonour) {
  EXPECT_TRUE(
      ParseSpec(R"({"ociVersion":"1.2.0","org.example":{"a":[1]},"linux":{"new":1}})").ok());
  EXPECT_THAT(
      std::string(
          ParseSpec(R"({"ociVersion":"1.2.0","linux":{"intelRdt":{}}})").status().message()),
      HasSubstr("linux.intelRdt: not supported"));
}

TEST(ParseSpec, TakesMinusOneInADeviceRuleAsAll) {
  const auto spec = ParseSpec(
      R"({"ociVersion":"1.0.0","linux":{"resources":{"devices":[
          {"allow":true,"major":-1,"minor":5}]}}})");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_FALSE(spec->linux_.resources->devices[0].major.has_value());
  EXPECT_EQ(spec->linux_.resources->devices[0].minor, 5);
}

}  // namespace
}  // namespace gantry::spec
