// Namespaces that the containers of a pod share.
#include "runtime/pod_namespaces.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

#include "runtime/capabilities.h"
#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"
#include "runtime/test_container.h"

namespace gantry::runtime {
namespace {

using ::testing::HasSubstr;

class PodNamespacesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (MustSkip()) GTEST_SKIP() << "needs root and busybox";
    request_.types = {"network", "ipc", "uts"};
    request_.hostname = "pod";
  }

  void Join(TestContainer& container, const PodNamespaces& pod) {
    for (const auto& [type, fd] : pod.fds) container.request.join_namespaces[type] = fd.get();
  }

  PodNamespacesRequest request_;
};

TEST_F(PodNamespacesTest, TwoContainersShareThem) {
  request_.sysctls = {{"net.ipv4.ip_unprivileged_port_start", "80"}};
  auto pod = MakePodNamespaces(request_);
  ASSERT_TRUE(pod.ok()) << pod.status();
  EXPECT_EQ(pod->init_pid, -1);
  std::string outputs[2];
  for (std::string& output : outputs) {
    TestContainer container;
    Join(container, *pod);
    const Outcome outcome = container.Run(
        "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ip addr show lo | grep -c "
        "127.0.0.1;"
        "readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; readlink /proc/self/ns/uts");
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    output = outcome.output;
  }
  EXPECT_EQ(outputs[0], outputs[1]);
  EXPECT_THAT(outputs[0], HasSubstr("pod\n80\n1\n"));
}

TEST_F(PodNamespacesTest, TheHostsOwnIsNotTouched) {
  char before[65];
  char after[65];
  gethostname(before, sizeof before);
  ASSERT_TRUE(MakePodNamespaces(request_).ok());
  gethostname(after, sizeof after);
  EXPECT_STREQ(before, after);
}

TEST_F(PodNamespacesTest, ASysctlOfTheHostIsRefused) {
  request_.sysctls = {{"vm.overcommit_memory", "1"}};
  EXPECT_EQ(MakePodNamespaces(request_).status().code(), absl::StatusCode::kInvalidArgument);
  request_.types = {"ipc"};
  request_.sysctls = {{"net.ipv4.ip_forward", "1"}};
  EXPECT_EQ(MakePodNamespaces(request_).status().message(),
            "sysctl \"net.ipv4.ip_forward\" needs a network namespace that is not the host's");
}

TEST_F(PodNamespacesTest, ASysctlThatTheKernelRefusesLeavesNothing) {
  request_.sysctls = {{"net.ipv4.nonsuch", "1"}};
  EXPECT_THAT(std::string(MakePodNamespaces(request_).status().message()),
              HasSubstr("sysctl \"net.ipv4.nonsuch\": "));
}

class SharedPid : public PodNamespacesTest {
 protected:
  void SetUp() override {
    PodNamespacesTest::SetUp();
    if (IsSkipped()) return;
    StatusOr<UniqueFd> binary = OpenAt(AT_FDCWD, GANTRY_TEST_POD_INIT, O_RDONLY);
    ASSERT_TRUE(binary.ok()) << binary.status();
    binary_ = std::move(*binary);
    request_.types.emplace_back("pid");
    request_.init_binary_fd = binary_.get();
    auto pod = MakePodNamespaces(request_);
    ASSERT_TRUE(pod.ok()) << pod.status();
    pod_ = std::move(*pod);
  }
  void TearDown() override {
    if (!pod_.init_pidfd.valid()) return;
    EXPECT_TRUE(SignalPidFd(pod_.init_pidfd.get(), SIGKILL).ok());
    EXPECT_TRUE(WaitPidFd(pod_.init_pidfd.get(), /*block=*/true).ok());
  }

  std::string OfInit(const std::string& file) {
    return ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", pod_.init_pid, "/", file)).value_or("");
  }

  UniqueFd binary_;
  PodNamespaces pod_;
};

TEST_F(SharedPid, ContainersSeeEachOtherAndInitIsProcessOne) {
  TestContainer first;
  TestContainer second;
  Join(first, pod_);
  Join(second, pod_);
  auto running = first.Start("exec sleep 60");
  ASSERT_TRUE(running.ok()) << running.status();
  const Outcome outcome = second.Run("cat /proc/1/cmdline; echo; cat /proc/*/comm | grep -c sleep");
  EXPECT_EQ(outcome.output, std::string("gantry-init\0\n1\n", 15)) << outcome.status;
}

TEST_F(SharedPid, InitHasAnEmptyRootNoDescriptorsAndNoCapabilities) {
  const std::string proc = absl::StrCat("/proc/", pod_.init_pid);
  EXPECT_THAT(OfInit("status"), HasSubstr("CapPrm:\t0000000000000000"));
  EXPECT_THAT(OfInit("status"), HasSubstr("CapBnd:\t0000000000000000"));
  EXPECT_THAT(OfInit("status"), HasSubstr("NoNewPrivs:\t1"));
  EXPECT_EQ(OfInit("environ"), "");
  StatusOr<UniqueFd> root = OpenAt(AT_FDCWD, proc + "/root/", O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(root.ok()) << root.status();
  EXPECT_EQ(faccessat(root->get(), "bin", F_OK, 0), -1);
  EXPECT_EQ(mkdirat(root->get(), "x", 0755), -1);
  EXPECT_EQ(faccessat(AT_FDCWD, (proc + "/fd/0").c_str(), F_OK, AT_SYMLINK_NOFOLLOW), -1);
  EXPECT_EQ(OfInit("mounts"),
            "gantry-init / tmpfs ro,nosuid,nodev,noexec,relatime,size=0k,mode=555 0 0\n");
}

TEST_F(SharedPid, AContainerMayNotLookIntoInit) {
  TestContainer container;
  Join(container, pod_);
  const Outcome outcome =
      container.Run("ls /proc/1/root/ 2>&1; readlink /proc/1/exe || echo hidden");
  EXPECT_EQ(outcome.output, "ls: /proc/1/root/: Permission denied\nhidden\n");
}

// What it may read is what a container of the pod may: it has no CAP_SYS_PTRACE there.
TEST_F(SharedPid, InitIsClosedToOthersBeforeTheNamespacesAreHandedOut) {
  const uint64_t held = HeldCapabilities().value_or(0);
  for (int i = 0; i < 200; ++i) {
    auto pod = MakePodNamespaces(request_);
    ASSERT_TRUE(pod.ok()) << pod.status();
    const std::string exe = absl::StrCat("/proc/", pod->init_pid, "/exe");
    char target[PATH_MAX];
    ASSERT_TRUE(SetCapabilities({.permitted = held}).ok());
    const ssize_t seen = readlink(exe.c_str(), target, sizeof target);
    const int error = errno;
    ASSERT_TRUE(SetCapabilities({.effective = held, .permitted = held}).ok());
    EXPECT_TRUE(SignalPidFd(pod->init_pidfd.get(), SIGKILL).ok());
    EXPECT_TRUE(WaitPidFd(pod->init_pidfd.get(), /*block=*/true).ok());
    ASSERT_EQ(seen, -1) << "round " << i;
    ASSERT_EQ(error, EACCES) << "round " << i;
  }
}

TEST_F(SharedPid, WithoutItsInitTheNamespaceCannotBeJoined) {
  TestContainer container;
  Join(container, pod_);
  ASSERT_TRUE(SignalPidFd(pod_.init_pidfd.get(), SIGKILL).ok());
  ASSERT_TRUE(WaitPidFd(pod_.init_pidfd.get(), /*block=*/true).ok());
  pod_.init_pidfd.Reset();
  EXPECT_THAT(std::string(container.Run("true").status.message()),
              HasSubstr("join a pid namespace whose init may have exited"));
}

TEST_F(PodNamespacesTest, AContainerCanJoinThePidNamespaceOfAnother) {
  TestContainer target;
  auto running = target.Start("exec sleep 60");
  ASSERT_TRUE(running.ok()) << running.status();
  StatusOr<UniqueFd> pid =
      OpenAt(AT_FDCWD, absl::StrCat("/proc/", running->creation().pid(), "/ns/pid"), O_RDONLY);
  ASSERT_TRUE(pid.ok());
  TestContainer container;
  container.request.join_namespaces["pid"] = pid->get();
  EXPECT_EQ(container.Run("cat /proc/1/comm; test $$ -gt 1 && echo other").output,
            "sleep\nother\n");
  // And the caller's next child is in the caller's own again.
  TestContainer next;
  EXPECT_EQ(next.Run("echo $$").output, "1\n");
}

}  // namespace
}  // namespace gantry::runtime
