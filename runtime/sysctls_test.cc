#include "runtime/sysctls.h"

#include <gtest/gtest.h>

namespace gantry::runtime {
namespace {

const std::set<std::string> kPod = {"network", "ipc", "uts"};

TEST(Sysctls, ANameIsAPathByItsFirstSeparator) {
  EXPECT_EQ(SysctlPath("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
  EXPECT_EQ(SysctlPath("net/ipv4/conf/eth0.100/forwarding"), "net/ipv4/conf/eth0.100/forwarding");
  EXPECT_EQ(SysctlPath("net.ipv4.conf.eth0/100.forwarding"), "net/ipv4/conf/eth0.100/forwarding");
}

TEST(Sysctls, OnlyWhatANamespaceIsolatesIsAllowed) {
  for (const char* name : {"net.core.somaxconn", "kernel.shmmax", "kernel.sem", "fs.mqueue.msg_max",
                           "kernel.domainname", "net/ipv4/ip_forward"}) {
    EXPECT_TRUE(CheckSysctl(name, "1", kPod).ok()) << name;
  }
  for (const char* name : {"kernel.core_pattern", "vm.swappiness", "kernel.hostname", "fs.file-max",
                           "net", "kernel.shm_next_id", ""}) {
    EXPECT_EQ(CheckSysctl(name, "1", kPod).code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

TEST(Sysctls, TheNamespaceMustNotBeTheHosts) {
  EXPECT_FALSE(CheckSysctl("net.core.somaxconn", "1", {"ipc"}).ok());
  EXPECT_FALSE(CheckSysctl("kernel.shmmax", "1", {"network"}).ok());
}

TEST(Sysctls, NothingCanHideASecondSetting) {
  for (const char* name :
       {"net.ipv4.ip_forward+kernel.core_pattern", "net.ipv4.ip_forward\nx",
        "net/../kernel/core_pattern", "net//x", "net/./x", "net.ipv4.ip_forward=1"}) {
    EXPECT_FALSE(CheckSysctl(name, "1", kPod).ok()) << name;
  }
  EXPECT_FALSE(CheckSysctl("net.core.somaxconn", "1\nkernel.core_pattern=x", kPod).ok());
  EXPECT_TRUE(CheckSysctl("net.ipv4.ip_local_port_range", "1024\t65000", kPod).ok());
}

}  // namespace
}  // namespace gantry::runtime
