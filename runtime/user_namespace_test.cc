// Containers in the user namespace of their pod: who they are inside, and who on the host.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/nsfs.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"

#include "runtime/exec.h"
#include "runtime/id_maps.h"
#include "runtime/linux/file.h"
#include "runtime/linux/mount.h"
#include "runtime/linux/pidfd.h"
#include "runtime/pod_namespaces.h"
#include "runtime/test_container.h"

namespace gantry::runtime {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr uint32_t kHostRoot = 100000;
constexpr uint32_t kSize = 65536;

ino_t Inode(int fd) {
  struct stat info = {};
  EXPECT_EQ(fstat(fd, &info), 0);
  return info.st_ino;
}

class UserNamespaceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (MustSkip()) GTEST_SKIP() << "needs root and busybox";
    request_.types = {"user", "network", "ipc", "uts"};
    request_.hostname = "pod";
    request_.uid_mappings = request_.gid_mappings = {{0, kHostRoot, kSize}};
  }
  void TearDown() override {
    if (!pod_.init_pidfd.valid()) return;
    EXPECT_TRUE(SignalPidFd(pod_.init_pidfd.get(), SIGKILL).ok());
    EXPECT_TRUE(WaitPidFd(pod_.init_pidfd.get(), /*block=*/true).ok());
  }

  void MakePod() {
    auto pod = MakePodNamespaces(request_);
    ASSERT_TRUE(pod.ok()) << pod.status();
    pod_ = std::move(*pod);
  }

  // The container joins the pod, over an idmapped root file system.
  void Join(TestContainer& container) {
    for (const auto& [type, fd] : pod_.fds) {
      container.request.join_namespaces[type] = fd.get();
      auto& namespaces = container.spec.linux_.namespaces;
      if (type == "user") namespaces.push_back({"user", ""});
    }
    container.spec.linux_.uid_mappings = request_.uid_mappings;
    container.spec.linux_.gid_mappings = request_.gid_mappings;
    auto tree = CloneTree(AT_FDCWD, container.rootfs(), /*recursive=*/false);
    ASSERT_TRUE(tree.ok()) << tree.status();
    struct mount_attr mapped = {};
    mapped.attr_set = MOUNT_ATTR_IDMAP;
    mapped.userns_fd = static_cast<uint64_t>(pod_.fds["user"].get());
    ASSERT_TRUE(SetMountAttributes(tree->get(), mapped, false, "rootfs").ok());
    rootfs_ = std::move(*tree);
    container.request.rootfs_fd = rootfs_.get();
  }

  std::string Output(TestContainer& container, const std::string& script) {
    Join(container);
    const Outcome outcome = container.Run(script);
    EXPECT_TRUE(outcome.status.ok()) << outcome.status;
    return outcome.output;
  }

  void Hold(TestContainer& container, const std::string& capability) {
    auto& sets = *container.spec.process->capabilities;
    for (auto* set : {&sets.bounding, &sets.effective, &sets.permitted}) {
      set->push_back(capability);
    }
  }

  PodNamespacesRequest request_;
  PodNamespaces pod_;
  UniqueFd rootfs_;
  TestContainer container_;
};

TEST_F(UserNamespaceTest, ThePodsOtherNamespacesBelongToIt) {
  MakePod();
  for (const char* type : {"network", "ipc", "uts"}) {
    const UniqueFd owner(ioctl(pod_.fds[type].get(), NS_GET_USERNS));
    ASSERT_TRUE(owner.valid()) << type;
    EXPECT_EQ(Inode(owner.get()), Inode(pod_.fds["user"].get())) << type;
  }
}

TEST_F(UserNamespaceTest, TheContainersRootIsNobodyOfTheHosts) {
  MakePod();
  Join(container_);
  auto running = container_.Start("exec sleep 60");
  ASSERT_TRUE(running.ok()) << running.status();
  const pid_t pid = running->creation().pid();
  const std::string status =
      ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", pid, "/status")).value_or("");
  EXPECT_THAT(status, HasSubstr("Uid:\t100000\t100000\t100000\t100000"));
  EXPECT_THAT(status, HasSubstr("Gid:\t100000\t100000\t100000\t100000"));
  EXPECT_THAT(status, HasSubstr("Groups:\t100000 \n"));
  TestContainer other;
  EXPECT_EQ(Output(other, "id -u; id -g; cat /proc/self/uid_map"),
            "0\n0\n         0     100000      65536\n");
}

TEST_F(UserNamespaceTest, AllThatIsMadeForTheContainerIsItsOwn) {
  MakePod();
  container_.spec.process->cwd = "/made/cwd";
  container_.spec.mounts.push_back(
      {"/target/deep", "tmpfs", "tmpfs", {"mode=755", "uid=7", "gid=8"}, {}, {}});
  EXPECT_EQ(Output(container_,
                   "stat -c '%u:%g %n' /target /target/deep /made/cwd /dev /dev/null /dev/fd "
                   "/dev/mqueue /dev/shm /bin/busybox; echo x > /dev/null && touch /dev/x /x"),
            "0:0 /target\n7:8 /target/deep\n0:0 /made/cwd\n0:0 /dev\n0:0 /dev/null\n0:0 /dev/fd\n"
            "0:0 /dev/mqueue\n0:0 /dev/shm\n0:0 /bin/busybox\n");
  // Through the mapping of the root file system, back to what was there.
  struct stat info = {};
  ASSERT_EQ(stat((container_.rootfs() + "/x").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, 0U);
}

TEST_F(UserNamespaceTest, CapabilitiesAreForThePodsOwn) {
  MakePod();
  Hold(container_, "CAP_SYS_ADMIN");
  Hold(container_, "CAP_NET_ADMIN");
  container_.spec.linux_.readonly_paths.clear();
  EXPECT_EQ(Output(container_,
                   "hostname other && hostname; ip link set lo down && echo down;"
                   "echo 1 > /proc/sys/net/ipv4/ip_forward && echo forward;"
                   "(echo 1 > /proc/sys/vm/drop_caches) 2>/dev/null || echo refused"),
            "other\ndown\nforward\nrefused\n");
}

TEST_F(UserNamespaceTest, WhatIsMountedForItStaysAsItIs) {
  MakePod();
  Hold(container_, "CAP_SYS_ADMIN");
  const std::string source = container_.dir() + "/source";
  fs::create_directories(source);
  container_.spec.mounts.push_back({"/volume", "bind", source, {"rbind", "ro"}, {}, {}});
  EXPECT_EQ(Output(container_,
                   "mount -o remount,rw,bind /volume 2>/dev/null || echo read-only;"
                   "busybox umount /proc/keys 2>/dev/null || echo masked;"
                   "mkdir /mine && mount -t tmpfs tmpfs /mine && echo mounted;"
                   "busybox umount /mine && echo unmounted"),
            "read-only\nmasked\nmounted\nunmounted\n");
}

TEST_F(UserNamespaceTest, AVolumeIsMappedAndItsOwnersStayWhatTheyAre) {
  MakePod();
  const std::string source = container_.dir() + "/source";
  fs::create_directories(source);
  ASSERT_TRUE(CreateFileAt(AT_FDCWD, source + "/old", "old\n", 0600).ok());
  ASSERT_EQ(chown((source + "/old").c_str(), 1000, 1000), 0);
  spec::Mount volume{"/volume", "bind", source, {"rbind", "rprivate", "ridmap"}, {}, {}};
  volume.uid_mappings = volume.gid_mappings = request_.uid_mappings;
  container_.spec.mounts.push_back(volume);
  volume.destination = "/following";
  volume.options = {"rbind", "rslave", "ridmap", "ro"};
  container_.spec.mounts.push_back(volume);
  EXPECT_EQ(Output(container_,
                   "stat -c %u:%g /volume/old /following/old; cat /volume/old; touch /volume/new;"
                   "touch /following/x 2>/dev/null || echo read-only"),
            "1000:1000\n1000:1000\nold\nread-only\n");
  struct stat info = {};
  ASSERT_EQ(stat((source + "/new").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, 0U);
}

TEST_F(UserNamespaceTest, AVolumeThatIsNotMappedShowsTheHostsOwners) {
  MakePod();
  const std::string source = container_.dir() + "/source";
  fs::create_directories(source);
  ASSERT_EQ(chmod(source.c_str(), 0777), 0);
  container_.spec.mounts.push_back({"/volume", "bind", source, {"rbind"}, {}, {}});
  EXPECT_EQ(Output(container_, "stat -c %u /volume; touch /volume/new"), "65534\n");
  struct stat info = {};
  ASSERT_EQ(stat((source + "/new").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, kHostRoot);
}

TEST_F(UserNamespaceTest, AFileSystemThatCannotMapIsRefusedAndNamed) {
  MakePod();
  Join(container_);
  spec::Mount volume{"/volume", "bind", "/proc/sys", {"rbind"}, {}, {}};
  volume.uid_mappings = volume.gid_mappings = request_.uid_mappings;
  container_.spec.mounts.push_back(volume);
  EXPECT_THAT(std::string(container_.Run("true").status.message()),
              HasSubstr("mount \"/volume\": the file system, or one below it, cannot map owners"));
}

TEST_F(UserNamespaceTest, AUserThatIsNotMappedIsRefused) {
  MakePod();
  Join(container_);
  container_.spec.process->user.uid = kSize;
  const Outcome outcome = container_.Run("true");
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(outcome.status.message()), HasSubstr("user 65536 is not mapped"));
}

TEST_F(UserNamespaceTest, ItsPipesCanBeOpenedAgain) {
  MakePod();
  container_.spec.process->user = {.uid = 1000, .gid = 1000};
  EXPECT_EQ(Output(container_, "echo again > /dev/stdout; id -u; id -g"), "again\n1000\n1000\n");
}

TEST_F(UserNamespaceTest, WithTheHostsNetworkItStartsToo) {
  request_.types = {"user", "ipc"};
  MakePod();
  auto& namespaces = container_.spec.linux_.namespaces;
  std::erase_if(namespaces, [](const auto& ns) { return ns.type == "network"; });
  EXPECT_EQ(Output(container_, "ls -d /sys/class/net/lo; ip link set lo down 2>&1 | grep -c perm"),
            "/sys/class/net/lo\n1\n");
}

TEST_F(UserNamespaceTest, SysctlsAreSetForThePod) {
  request_.sysctls = {{"net.ipv4.ip_unprivileged_port_start", "80"}, {"kernel.shmmni", "77"}};
  MakePod();
  EXPECT_EQ(Output(container_,
                   "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni;"
                   "hostname; ip addr show lo | grep -c 127.0.0.1"),
            "80\n77\npod\n1\n");
}

TEST_F(UserNamespaceTest, InitOfASharedPidNamespaceIsNobodyOfTheHosts) {
  StatusOr<UniqueFd> binary = OpenAt(AT_FDCWD, GANTRY_TEST_POD_INIT, O_RDONLY);
  ASSERT_TRUE(binary.ok()) << binary.status();
  request_.types.emplace_back("pid");
  request_.init_binary_fd = binary->get();
  MakePod();
  const std::string status =
      ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", pod_.init_pid, "/status")).value_or("");
  EXPECT_THAT(status, HasSubstr("Uid:\t100000\t100000\t100000\t100000"));
  EXPECT_THAT(status, HasSubstr("CapPrm:\t0000000000000000"));
  EXPECT_THAT(status, HasSubstr("CapBnd:\t0000000000000000"));
  EXPECT_EQ(Output(container_, "stat -c %u /proc/1; ls /proc/1/root/ 2>&1"),
            "0\nls: /proc/1/root/: Permission denied\n");
}

TEST_F(UserNamespaceTest, AMappingWithoutIdZeroIsRefused) {
  request_.uid_mappings = {{1, kHostRoot, kSize}};
  EXPECT_EQ(MakePodNamespaces(request_).status().code(), absl::StatusCode::kInvalidArgument);
  request_.uid_mappings = {};
  EXPECT_EQ(MakePodNamespaces(request_).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(UserNamespaceTest, AMappingThatTheKernelRefusesIsToldByItsReason) {
  request_.gid_mappings = {{0, kHostRoot, 10}, {5, kHostRoot + 100, 10}};
  EXPECT_THAT(std::string(MakePodNamespaces(request_).status().message()),
              HasSubstr("map the ids of the pod's user namespace: "));
}

class ExecInUserNamespace : public UserNamespaceTest {
 protected:
  void SetUp() override {
    UserNamespaceTest::SetUp();
    if (IsSkipped()) return;
    MakePod();
    Join(container_);
    auto running = container_.Start("exec sleep 60");
    ASSERT_TRUE(running.ok()) << running.status();
    running_.emplace(std::move(*running));
    process_ = *container_.spec.process;
  }

  std::string Run(const std::string& script) {
    process_.args = {"/bin/sh", "-c", script};
    OutputPipe output = MakeOutputPipe();
    ExecRequest request;
    request.process = &process_;
    request.container_pid = running_->creation().pid();
    request.container_pidfd = running_->creation().pidfd();
    request.stdio[1] = request.stdio[2] = output.write_end.get();
    auto exec = ExecOperation::Begin(request);
    EXPECT_TRUE(exec.ok()) << exec.status();
    if (!exec.ok()) return "";
    output.write_end.Reset();
    Status status;
    while (status.ok() && exec->poll_fd() >= 0) {
      struct pollfd readable = {exec->poll_fd(), POLLIN, 0};
      if (poll(&readable, 1, 10'000) != 1) return "no step";
      status = exec->OnReadable().status();
    }
    const UniqueFd terminal = exec->TakeTerminal();
    const std::string text = Drain(terminal.valid() ? terminal.get() : output.read_end.get());
    (void)waitpid(exec->middle_pid(), nullptr, __WALL);
    if (exec->pid() > 0) (void)waitpid(exec->pid(), nullptr, __WALL);
    return status.ok() ? text : std::string(status.message());
  }

  std::optional<RunningContainer> running_;
  spec::Process process_;
};

TEST_F(ExecInUserNamespace, ItIsWhoTheContainerIs) {
  EXPECT_EQ(Run("id -u; cat /proc/self/uid_map; touch /made; stat -c %u /made; hostname"),
            "0\n         0     100000      65536\n0\npod\n");
}

TEST_F(ExecInUserNamespace, ItsPipesCanBeOpenedAgain) {
  process_.user = {.uid = 1000, .gid = 1000};
  EXPECT_EQ(Run("echo again > /dev/stdout; id -u"), "again\n1000\n");
}

TEST_F(ExecInUserNamespace, ItsTerminalIsItsUsers) {
  process_.terminal = true;
  process_.user = {.uid = 1000, .gid = 1000};
  EXPECT_EQ(Run("stat -c %u:%g $(tty); echo open > $(tty)"), "1000:5\r\nopen\r\n");
}

TEST_F(ExecInUserNamespace, AUserThatIsNotMappedIsRefused) {
  process_.user = {.uid = 70000, .gid = 0};
  EXPECT_THAT(Run("id"), HasSubstr("user 70000 is not mapped in the container's user namespace"));
}

}  // namespace
}  // namespace gantry::runtime
