// What a process in a container sees, asked of the process itself.
#include "runtime/create.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"
#include "runtime/linux/mount.h"
#include "runtime/linux/pidfd.h"
#include "runtime/test_container.h"

namespace gantry::runtime {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class Create : public ::testing::Test {
 protected:
  void SetUp() override {
    if (MustSkip()) GTEST_SKIP() << "needs root and busybox";
  }

  // Runs the script and expects it to end well.
  std::string Output(const std::string& script) {
    const Outcome outcome = container_.Run(script);
    EXPECT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    return outcome.output;
  }

  std::string Error() { return std::string(container_.Run().status.message()); }

  TestContainer container_;
};

TEST_F(Create, TheProgramIsProcessOneOfItsOwnNamespaces) {
  EXPECT_EQ(Output("echo $$; hostname; echo /proc/[0-9]*"), "1\nbox\n/proc/1\n");
}

TEST_F(Create, TheExitCodeIsThePrograms) {
  EXPECT_EQ(container_.Run("exit 7").exit_code, 7);
  EXPECT_EQ(container_.Run("kill -9 $$; exit 3").exit_code, 3)
      << "an init's own SIGKILL is ignored";
}

TEST_F(Create, LoopbackIsUpInItsOwnNetworkNamespace) {
  EXPECT_THAT(Output("ip addr"), HasSubstr("127.0.0.1/8"));
}

TEST_F(Create, TheMountsOfTheSpecAreThere) {
  const std::string mounts = Output("cat /proc/mounts");
  EXPECT_THAT(mounts, HasSubstr("proc /proc proc rw,nosuid,nodev,noexec"));
  EXPECT_THAT(mounts, HasSubstr("tmpfs /dev tmpfs rw,nosuid"));
  EXPECT_THAT(
      mounts,
      HasSubstr("devpts /dev/pts devpts rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=666"));
  EXPECT_THAT(mounts, HasSubstr("mqueue /dev/mqueue mqueue rw,nosuid,nodev,noexec"));
  EXPECT_THAT(mounts, HasSubstr("/dev/shm tmpfs rw,nosuid,nodev,noexec"));
  EXPECT_THAT(mounts, HasSubstr("sysfs /sys sysfs ro,nosuid,nodev,noexec"));
  EXPECT_THAT(mounts, HasSubstr(" /sys/fs/cgroup"));
  EXPECT_THAT(mounts, Not(HasSubstr(container_.dir())));
}

TEST_F(Create, MaskedFilesAreEmptyAndMaskedDirectoriesToo) {
  EXPECT_EQ(Output("cat /proc/keys /proc/timer_list | wc -c; ls /sys/firmware | wc -l;"
                   "touch /sys/firmware/x 2>/dev/null || echo refused"),
            "0\n0\nrefused\n");
}

TEST_F(Create, ReadOnlyPathsCannotBeWritten) {
  EXPECT_THAT(Output("echo x > /proc/sys/kernel/hostname || true"),
              HasSubstr("/proc/sys/kernel/hostname: Read-only file system"));
}

TEST_F(Create, AReadOnlyRootfsCannotBeWrittenButItsMountsCan) {
  container_.spec.root.readonly = true;
  container_.spec.process->cwd = "/made/on/the/way";
  EXPECT_EQ(Output("touch /x 2>&1; touch /dev/shm/x && echo fine; pwd"),
            "touch: /x: Read-only file system\nfine\n/made/on/the/way\n");
}

TEST_F(Create, NoDescriptorButThreeIsLeft) {
  // ls itself has the directory open as 3.
  UniqueFd leaked(
      open("/etc/passwd",
           O_RDONLY));  // NOLINT(android-cloexec-open): what a careless caller leaves open
  container_.spec.process->args = {"/bin/ls", "/proc/self/fd"};
  const Outcome outcome = container_.Run();
  EXPECT_EQ(outcome.output, "0\n1\n2\n3\n") << outcome.status;
}

TEST_F(Create, UserGroupsAndHomeAreTheSpecs) {
  container_.spec.process->user = {
      .uid = 1000, .gid = 1001, .umask = 0027, .additional_gids = {2000, 2001}};
  EXPECT_EQ(Output("id -u; id -g; id -G; echo $HOME; umask"),
            "1000\n1001\n1001 2000 2001\n/home/user\n0027\n");
}

TEST_F(Create, CapabilitiesAreTheSpecsAndNeverInheritable) {
  EXPECT_EQ(Output("grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status"),
            "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n"
            "CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\n");
}

TEST_F(Create, AnotherUserHasNoCapabilitiesButAmbientOnes) {
  container_.spec.process->user.uid = 1000;
  auto& capabilities = *container_.spec.process->capabilities;
  capabilities.inheritable = {"CAP_NET_BIND_SERVICE"};
  capabilities.ambient = {"CAP_NET_BIND_SERVICE"};
  EXPECT_EQ(Output("grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status"),
            "CapInh:\t0000000000000400\nCapPrm:\t0000000000000400\nCapEff:\t0000000000000400\n"
            "CapAmb:\t0000000000000400\n");
}

TEST_F(Create, NoNewPrivilegesIsSet) {
  container_.spec.process->no_new_privileges = true;
  EXPECT_THAT(Output("cat /proc/self/status"), HasSubstr("NoNewPrivs:\t1"));
}

TEST_F(Create, DevicesAndLinksAreInDev) {
  spec::Device fuse;
  fuse.path = "/dev/net/tun";
  fuse.type = "c";
  fuse.major = 10;
  fuse.minor = 200;
  fuse.file_mode = 0640;
  fuse.uid = 5;
  fuse.gid = 6;
  container_.spec.linux_.devices.push_back(fuse);
  EXPECT_EQ(
      Output(
          "stat -c '%a %u %g %t,%T' /dev/null /dev/net/tun; readlink /dev/ptmx; readlink /dev/fd;"
          "head -c 3 /dev/zero | wc -c"),
      "666 0 0 1,3\n640 5 6 a,c8\npts/ptmx\n/proc/self/fd\n3\n");
}

TEST_F(Create, AMissingWorkingDirectoryIsMade) {
  container_.spec.process->cwd = "/srv/deep/er";
  EXPECT_EQ(Output("pwd"), "/srv/deep/er\n");
}

TEST_F(Create, SysctlsOfOwnNamespacesAreSet) {
  container_.spec.linux_.sysctl = {{"net.ipv4.ip_forward", "1"}, {"kernel.shm_rmid_forced", "1"}};
  EXPECT_EQ(Output("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced"), "1\n1\n");
}

TEST_F(Create, RlimitsAreSetAndCutToTheHardLimit) {
  container_.spec.process->rlimits = {{"RLIMIT_NOFILE", 100, 200},
                                      {"RLIMIT_CORE", 0, RLIM_INFINITY}};
  EXPECT_EQ(Output("ulimit -S -n; ulimit -H -n"), "100\n200\n");
}

TEST_F(Create, OomScoreIsSetAndNeverFailsForWantOfACapability) {
  container_.spec.process->oom_score_adj = 500;
  EXPECT_EQ(Output("cat /proc/self/oom_score_adj"), "500\n");
  container_.spec.process->oom_score_adj = -1000;
  EXPECT_EQ(container_.Run("true").exit_code, 0);
}

TEST_F(Create, ATerminalBecomesStdioAndConsole) {
  container_.spec.process->terminal = true;
  container_.spec.process->console_size = {.height = 33, .width = 77};
  auto container = container_.Start("tty; stty size; test -c /dev/console && echo console");
  ASSERT_TRUE(container.ok()) << container.status();
  UniqueFd master = container->creation().TakeTerminal();
  ASSERT_TRUE(master.valid());
  EXPECT_EQ(Drain(master.get()), "/dev/pts/0\r\n33 77\r\nconsole\r\n");
}

TEST_F(Create, ADetachedMountCanBeTheRoot) {
  StatusOr<UniqueFd> tree = CloneTree(AT_FDCWD, container_.rootfs(), /*recursive=*/true);
  ASSERT_TRUE(tree.ok()) << tree.status();
  container_.request.rootfs_fd = tree->get();
  EXPECT_EQ(Output("echo hello"), "hello\n");
}

TEST_F(Create, AnOverlayOfADescriptorCanBeTheRootAndIsWrittenAbove) {
  for (const char* name : {"/upper", "/work"}) {
    ASSERT_EQ(mkdir((container_.dir() + name).c_str(), 0755), 0);
  }
  StatusOr<UniqueFd> overlay = NewMount("overlay", "overlay",
                                        {{"lowerdir", container_.rootfs()},
                                         {"upperdir", container_.dir() + "/upper"},
                                         {"workdir", container_.dir() + "/work"},
                                         {"volatile", ""}},
                                        0);
  ASSERT_TRUE(overlay.ok()) << overlay.status();
  container_.request.rootfs_fd = overlay->get();
  EXPECT_EQ(Output("echo text > /new; cat /new; head -n 1 /proc/mounts | grep -c overlay"),
            "text\n1\n");
  EXPECT_EQ(access((container_.dir() + "/upper/new").c_str(), F_OK), 0);
  EXPECT_NE(access((container_.rootfs() + "/new").c_str(), F_OK), 0);
  overlay->Reset();
}

// mkdir answers EPERM, all else is allowed.
std::string FilterAgainstMkdir() {
  const struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  return {reinterpret_cast<const char*>(filter), sizeof filter};
}

TEST_F(Create, TheSeccompFilterIsInForceWithAndWithoutNoNewPrivileges) {
  container_.request.seccomp_bpf = FilterAgainstMkdir();
  container_.spec.process->user.uid = 1000;
  for (const bool no_new_privileges : {false, true}) {
    container_.spec.process->no_new_privileges = no_new_privileges;
    EXPECT_EQ(Output("mkdir /tmp/x 2>&1; grep Seccomp: /proc/self/status"),
              "mkdir: can't create directory '/tmp/x': Operation not permitted\nSeccomp:\t2\n");
  }
}

TEST_F(Create, AFilterThatIsNoneIsAnError) {
  container_.request.seccomp_bpf = "seven b";
  container_.spec.process->args = {"/bin/true"};
  EXPECT_EQ(Error(), "seccomp filter of 7 bytes");
}

// What a container sees of cgroups, from a cgroup of its own.
class CreateInCgroup : public Create {
 protected:
  void SetUp() override {
    Create::SetUp();
    if (IsSkipped()) return;
    name_ = absl::StrCat("gantry-create-test-", getpid());
    directory_ = "/sys/fs/cgroup/pids/" + name_;
    if (mkdir(directory_.c_str(), 0755) != 0) GTEST_SKIP() << "needs cgroup v1 pids";
  }
  void TearDown() override {
    if (!directory_.empty()) rmdir(directory_.c_str());
  }

  Outcome RunPlaced(const std::string& script) {
    container_.spec.process->args = {"/bin/sh", "-c", script};
    container_.request.spec = &container_.spec;
    OutputPipe output = MakeOutputPipe();
    container_.request.stdio[1] = container_.request.stdio[2] = output.write_end.get();
    auto creation = Creation::Begin(container_.request);
    if (!creation.ok()) return {creation.status(), -1, ""};
    output.write_end.Reset();
    Status status =
        WriteFileAt(AT_FDCWD, directory_ + "/cgroup.procs", absl::StrCat(creation->pid()));
    if (status.ok()) status = creation->Continue();
    if (status.ok()) status = DriveUntil(*creation, Creation::Step::kCreated);
    if (status.ok()) status = creation->Start();
    if (status.ok()) status = DriveUntil(*creation, Creation::Step::kRunning);
    Outcome outcome = RunningContainer(std::move(*creation), std::move(output.read_end)).Finish();
    outcome.status = status;
    return outcome;
  }

  std::string name_;
  std::string directory_;
};

TEST_F(CreateInCgroup, ItsOwnIsTheRootOfWhatItSees) {
  const Outcome outcome = RunPlaced(
      "grep -c pids:/$ /proc/self/cgroup; head -n 1 /sys/fs/cgroup/pids/cgroup.procs;"
      "touch /sys/fs/cgroup/pids/x 2>&1");
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.output, "1\n1\ntouch: /sys/fs/cgroup/pids/x: Read-only file system\n");
}

TEST_F(CreateInCgroup, WithoutANamespaceItStillSeesNoMoreThanItsOwn) {
  container_.spec.linux_.namespaces.pop_back();
  const Outcome outcome = RunPlaced(absl::StrCat(
      "grep -c pids:/", name_, " /proc/self/cgroup; head -n 1 /sys/fs/cgroup/pids/cgroup.procs;",
      "test -e /sys/fs/cgroup/pids/", name_, " || echo own"));
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.output, "1\n1\nown\n");
}

TEST_F(Create, OneStartTimed) {
  ASSERT_EQ(container_.Run("true").exit_code, 0);
  container_.spec.process->args = {"/bin/true"};
  const auto begin = std::chrono::steady_clock::now();
  constexpr int kRuns = 20;
  for (int i = 0; i < kRuns; ++i) ASSERT_EQ(container_.Run().exit_code, 0);
  const auto spent = std::chrono::steady_clock::now() - begin;
  printf("create, start and exit of /bin/true: %.2f ms\n",
         std::chrono::duration<double, std::milli>(spent).count() / kRuns);
}

TEST_F(Create, AMissingProgramIsNamed) {
  container_.spec.process->args = {"nonsuch"};
  EXPECT_EQ(Error(), "exec \"nonsuch\": not found in PATH");
  container_.spec.process->args = {"/bin/nonsuch"};
  EXPECT_EQ(Error(), "exec \"/bin/nonsuch\": No such file or directory");
  container_.spec.process->args = {"/etc/passwd"};
  EXPECT_EQ(Error(), "exec \"/etc/passwd\": Permission denied");
}

TEST_F(Create, AMissingInterpreterIsNamed) {
  ASSERT_TRUE(CreateFileAt(AT_FDCWD, container_.rootfs() + "/run.sh", "#!/bin/bash\n", 0755).ok());
  container_.spec.process->args = {"/run.sh"};
  EXPECT_EQ(Error(), "exec \"/run.sh\": its interpreter \"/bin/bash\": No such file or directory");
}

TEST_F(Create, AMissingBindSourceIsNamedAndNotMade) {
  const std::string source = container_.dir() + "/nonsuch";
  container_.spec.mounts.push_back({"/data", "bind", source, {"rbind"}, {}, {}});
  container_.spec.process->args = {"/bin/true"};
  EXPECT_THAT(Error(), HasSubstr(absl::StrCat("mount \"/data\": source \"", source, "\": ")));
  EXPECT_NE(access(source.c_str(), F_OK), 0);
}

TEST_F(Create, AWorkingDirectoryThatIsAFileIsAnError) {
  container_.spec.process->cwd = "/etc/passwd";
  container_.spec.process->args = {"/bin/true"};
  EXPECT_THAT(Error(), HasSubstr("working directory \"/etc/passwd\": "));
}

TEST_F(Create, ASysctlOfTheHostIsRefused) {
  container_.spec.linux_.sysctl = {{"kernel.core_pattern", "x"}};
  container_.spec.process->args = {"/bin/true"};
  EXPECT_EQ(Error(), "sysctl \"kernel.core_pattern\" is not isolated by any namespace");
}

TEST_F(Create, AChildWhoseParentHasGoneExits) {
  auto container = container_.Create("echo never");
  ASSERT_TRUE(container.ok()) << container.status();
  const UniqueFd pidfd(fcntl(container->creation().pidfd(), F_DUPFD_CLOEXEC, 3));
  { const Creation gone = std::move(container->creation()); }
  const auto status = WaitPidFd(pidfd.get(), /*block=*/true);
  ASSERT_TRUE(status.ok() && status->has_value()) << status.status();
  EXPECT_EQ((*status)->Code(), 1);
}

}  // namespace
}  // namespace gantry::runtime
