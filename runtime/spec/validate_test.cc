#include "runtime/spec/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace gantry::spec {
namespace {

using ::testing::HasSubstr;

Spec Good() {
  Spec spec;
  spec.process.emplace();
  spec.process->args = {"true"};
  spec.root.path = "rootfs";
  spec.hostname = "h";
  spec.mounts = {{.destination = "/proc", .type = "proc", .source = "proc"}};
  spec.linux_.namespaces = {
      {.type = "mount"}, {.type = "uts"}, {.type = "network"}, {.type = "ipc"}};
  spec.linux_.masked_paths = {"/proc/kcore"};
  return spec;
}

TEST(Validate, AcceptsAnOrdinarySpec) { EXPECT_TRUE(Validate(Good()).ok()) << Validate(Good()); }

struct BadSpec {
  const char* error;
  std::function<void(Spec&)> spoil;
};

void ExpectRefused(const std::vector<BadSpec>& cases) {
  for (const BadSpec& bad : cases) {
    Spec spec = Good();
    bad.spoil(spec);
    const Status status = Validate(spec);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << bad.error;
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad.error));
  }
}

TEST(Validate, RefusesABadProcess) {
  const std::string nul("a\0b", 3);
  ExpectRefused({
      {"ociVersion: \"x\" is not a version", [](Spec& s) { s.version = "x"; }},
      {"ociVersion: 2.0.0 is not supported", [](Spec& s) { s.version = "2.0.0"; }},
      {"root.path: is empty", [](Spec& s) { s.root.path = ""; }},
      {"process.args: is empty", [](Spec& s) { s.process->args.clear(); }},
      {"process.args[0]: contains a NUL", [&](Spec& s) { s.process->args[0] = nul; }},
      {"process.env[0]: contains a NUL", [&](Spec& s) { s.process->env = {nul}; }},
      {"process.cwd: \"x\" is not an absolute path", [](Spec& s) { s.process->cwd = "x"; }},
      {"process.user.uid: 4294967295", [](Spec& s) { s.process->user.uid = 4294967295u; }},
      {"process.user.additionalGids",
       [](Spec& s) { s.process->user.additional_gids = {4294967295u}; }},
      {"process.rlimits[0]: \"NOFILE\"",
       [](Spec& s) {
         s.process->rlimits = {{"NOFILE", 1, 1}};
       }},
      {"process.rlimits[1]: RLIMIT_CPU occurs twice",
       [](Spec& s) {
         s.process->rlimits = {{"RLIMIT_CPU", 1, 1}, {"RLIMIT_CPU", 1, 1}};
       }},
      {"soft limit 2 is over the hard limit 1",
       [](Spec& s) {
         s.process->rlimits = {{"RLIMIT_CPU", 2, 1}};
       }},
      {"process.capabilities: \"CHOWN\"",
       [](Spec& s) {
         s.process->capabilities = Capabilities{.bounding = {"CHOWN"},
                                                .effective = {},
                                                .inheritable = {},
                                                .permitted = {},
                                                .ambient = {}};
       }},
      {"process.oomScoreAdj: -1001", [](Spec& s) { s.process->oom_score_adj = -1001; }},
  });
}

TEST(Validate, RefusesBadMountsAndNamespaces) {
  ExpectRefused({
      {"mounts[0].destination: \"proc\" is not an absolute",
       [](Spec& s) { s.mounts[0].destination = "proc"; }},
      {"mounts[0]: a bind mount without a source",
       [](Spec& s) {
         s.mounts[0].options = {"rbind"};
         s.mounts[0].source = "";
       }},
      {"mounts[0]: has no type", [](Spec& s) { s.mounts[0].type = ""; }},
      {"mounts[0].uidMappings[0]: ends past",
       [](Spec& s) {
         s.mounts[0].uid_mappings = s.mounts[0].gid_mappings = {{0, 4294967290u, 10}};
       }},
      {"linux.namespaces[4]: \"net\" is not known",
       [](Spec& s) {
         s.linux_.namespaces.push_back({"net", ""});
       }},
      {"linux.namespaces[4]: \"ipc\" occurs twice",
       [](Spec& s) {
         s.linux_.namespaces.push_back({"ipc", ""});
       }},
  });
}

TEST(Validate, RefusesWhatContradictsItself) {
  ExpectRefused({
      {"linux.uidMappings: given without a user namespace",
       [](Spec& s) {
         s.linux_.uid_mappings = {{0, 1, 1}};
       }},
      {"linux.uidMappings: a new user namespace needs",
       [](Spec& s) {
         s.linux_.namespaces.push_back({"user", ""});
       }},
      {"hostname: would rename the host",
       [](Spec& s) { s.linux_.namespaces.erase(s.linux_.namespaces.begin() + 1); }},
      {"linux.maskedPaths: paths cannot be masked",
       [](Spec& s) { s.linux_.namespaces[0].type = "cgroup"; }},
      {"linux.sysctl.kernel.core_pattern: is not isolated",
       [](Spec& s) { s.linux_.sysctl["kernel.core_pattern"] = "|x"; }},
      {"linux.sysctl.kernel.shmmax: needs a namespace of type ipc",
       [](Spec& s) {
         s.linux_.sysctl["kernel.shmmax"] = "1";
         s.linux_.namespaces.pop_back();
       }},
      {"the value contains a newline",
       [](Spec& s) { s.linux_.sysctl["net.core.somaxconn"] = "1\n2"; }},
      {"linux.devices[0].type: \"x\"",
       [](Spec& s) {
         s.linux_.devices = {
             {.path = "/dev/x", .type = "x", .file_mode = {}, .uid = {}, .gid = {}}};
       }},
      {"linux.cgroupsPath: contains \"..\"", [](Spec& s) { s.linux_.cgroups_path = "/a/../b"; }},
      {"linux.rootfsPropagation: \"none\"", [](Spec& s) { s.linux_.rootfs_propagation = "none"; }},
      {"hooks.poststop[0].path: \"x\" is not an absolute",
       [](Spec& s) { s.hooks.poststop = {{.path = "x", .args = {}, .env = {}, .timeout = {}}}; }},
      {"hooks.prestart[0].timeout: must be over 0",
       [](Spec& s) { s.hooks.prestart = {{.path = "/x", .args = {}, .env = {}, .timeout = 0}}; }},
  });
}

TEST(Validate, RefusesBadResources) {
  ExpectRefused({
      {"linux.resources: memory.swap: memory and swap together (1) are below",
       [](Spec& s) {
         s.linux_.resources.emplace().memory =
             MemoryLimits{.limit = 2, .reservation = {}, .swap = 1, .disable_oom_killer = {}};
       }},
      {"linux.resources: unified.cgroup.procs: is not a limit",
       [](Spec& s) { s.linux_.resources.emplace().unified["cgroup.procs"] = "1"; }},
      {"linux.resources: unified.../x.y: is not the name",
       [](Spec& s) { s.linux_.resources.emplace().unified["../x.y"] = "1"; }},
      {"linux.resources: hugepageLimits[0].pageSize: \"2M/B\"",
       [](Spec& s) {
         s.linux_.resources.emplace().hugepage_limits = {{"2M/B", 1}};
       }},
      {"linux.resources: devices[0].access: \"rx\"",
       [](Spec& s) {
         s.linux_.resources.emplace().devices = {
             {.allow = true, .type = "c", .major = {}, .minor = {}, .access = "rx"}};
       }},
      {"linux.resources: cpu: \"0;1\" is not a list",
       [](Spec& s) { s.linux_.resources.emplace().cpu.emplace().cpus = "0;1"; }},
  });
}

TEST(SysctlNamespace, KnowsWhatEachNamespaceIsolates) {
  EXPECT_EQ(*SysctlNamespace("net.ipv4.ip_forward"), "network");
  EXPECT_EQ(*SysctlNamespace("net/ipv4/conf/eth0.1/rp_filter"), "network");
  EXPECT_EQ(*SysctlNamespace("kernel.shm_rmid_forced"), "ipc");
  EXPECT_EQ(*SysctlNamespace("fs.mqueue.msg_max"), "ipc");
  EXPECT_EQ(*SysctlNamespace("kernel.domainname"), "uts");
  for (const char* name : {"kernel.hostname", "vm.swappiness", "net..x", "net", "", "net.a+b",
                           "net/../kernel/core_pattern", "net.ipv4.a\n", "../x"})
    EXPECT_FALSE(SysctlNamespace(name).ok()) << name;
}

}  // namespace
}  // namespace gantry::spec
