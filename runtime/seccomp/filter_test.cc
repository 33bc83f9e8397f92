// Compiled filters, judged by the kernel: a child loads one and reports what its system calls
// answer.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include "runtime/seccomp/compile.h"

namespace gantry::seccomp {
namespace {

struct Call {
  const char* name;
  long number;
  long arg0 = 0;
  long arg1 = 0;
  long arg2 = 0;
};

// errno of each call made under the filter; 0: it succeeded. Anything that hurts runs in the child
// only.
std::vector<int> Verdicts(const std::string& filter, const std::vector<Call>& calls) {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    sock_fprog program = {
        .len = static_cast<unsigned short>(filter.size() / sizeof(sock_filter)),
        .filter = reinterpret_cast<sock_filter*>(const_cast<char*>(filter.data()))};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
      _exit(1);
    for (const Call& call : calls) {
      const long result = syscall(call.number, call.arg0, call.arg1, call.arg2, 0L, 0L, 0L);
      const int error = result < 0 ? errno : 0;
      if (write(ends[1], &error, sizeof(error)) != sizeof(error)) _exit(2);
    }
    _exit(0);
  }
  close(ends[1]);
  std::vector<int> verdicts(calls.size(), -1);
  for (int& verdict : verdicts) {
    if (read(ends[0], &verdict, sizeof(verdict)) != sizeof(verdict)) break;
  }
  close(ends[0]);
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0) << "the child did not load the filter or was killed";
  return verdicts;
}

int Verdict(const std::string& filter, const Call& call) { return Verdicts(filter, {call})[0]; }

std::string Default(const std::set<std::string>& capabilities) {
  FilterCache cache;
  const auto filter = cache.Default(capabilities);
  EXPECT_TRUE(filter.ok()) << filter.status();
  return filter.ok() ? **filter : "";
}

std::string FromJson(absl::string_view json) {
  FilterCache cache;
  const auto filter = cache.FromJson(json, {});
  EXPECT_TRUE(filter.ok()) << filter.status();
  return filter.ok() ? **filter : "";
}

constexpr long kAnyHighBits = 0x7700000000;

TEST(DefaultFilter, AnswersAsContainerdsDoes) {
  const struct {
    Call call;
    int error;
  } cases[] = {
      {{"getpid", SYS_getpid}, 0},
      {{"ptrace: no such request", SYS_ptrace, 0x7777, 0}, ESRCH},
      {{"process_vm_readv of nothing", SYS_process_vm_readv, 0x7FFFFFFF}, 0},
      {{"memfd_create: bad pointer", SYS_memfd_create, 0}, EFAULT},
      {{"unshare", SYS_unshare, CLONE_NEWUSER}, EPERM},
      {{"clone of a user namespace", SYS_clone, CLONE_NEWUSER | SIGCHLD}, EPERM},
      {{"clone with flags the kernel refuses", SYS_clone, CLONE_SIGHAND}, EINVAL},
      {{"clone3", SYS_clone3}, ENOSYS},
      {{"keyctl", SYS_keyctl}, EPERM},
      {{"add_key", SYS_add_key}, EPERM},
      {{"bpf", SYS_bpf}, EPERM},
      {{"io_uring_setup", SYS_io_uring_setup}, EPERM},
      {{"mount", SYS_mount}, EPERM},
      {{"fsopen", SYS_fsopen}, EPERM},
      {{"open_tree_attr", 467}, EPERM},
      {{"chroot", SYS_chroot}, EPERM},
      {{"sethostname", SYS_sethostname}, EPERM},
      {{"perf_event_open", SYS_perf_event_open}, EPERM},
      {{"userfaultfd", SYS_userfaultfd}, EPERM},
      {{"swapoff", SYS_swapoff}, EPERM},
      {{"a number in a gap of the table", 400}, ENOSYS},
      {{"a number above the table", 499}, ENOSYS},
      {{"a number far above the table", 5000}, ENOSYS},
      {{"personality: query", SYS_personality, 0xFFFFFFFF}, 0},
      {{"personality: query, sign extended", SYS_personality, -1}, 0},
      {{"personality: 32 bit", SYS_personality, 0x8}, 0},
      {{"personality: no randomisation", SYS_personality, 0x40000}, EPERM},
      {{"personality: STICKY_TIMEOUTS", SYS_personality, 0x4000000}, EPERM},
      {{"personality: normal", SYS_personality, 0}, 0},
      {{"socket: AF_ALG", SYS_socket, AF_ALG, SOCK_SEQPACKET}, EPERM},
      {{"socket: AF_ALG under other high bits", SYS_socket, kAnyHighBits | AF_ALG, SOCK_SEQPACKET},
       EPERM},
      {{"socket: AF_VSOCK", SYS_socket, AF_VSOCK, SOCK_STREAM}, EPERM},
      {{"socket: AF_VSOCK under other high bits", SYS_socket, kAnyHighBits | AF_VSOCK, SOCK_STREAM},
       EPERM},
      {{"socket: a family without a module", SYS_socket, 37, 77}, EINVAL},
      {{"socket: AF_UNIX", SYS_socket, AF_UNIX, SOCK_STREAM}, 0},
      {{"socket: AF_INET6", SYS_socket, AF_INET6, SOCK_STREAM}, 0},
      {{"socket: AF_NETLINK", SYS_socket, AF_NETLINK, SOCK_RAW}, 0},
  };
  std::vector<Call> calls;
  for (const auto& test : cases) calls.push_back(test.call);
  const std::vector<int> verdicts = Verdicts(Default({"CAP_CHOWN"}), calls);
  for (size_t i = 0; i < calls.size(); ++i) EXPECT_EQ(verdicts[i], cases[i].error) << calls[i].name;
}

TEST(DefaultFilter, LetsEachSocketFamilyThroughButTwo) {
  const std::string filter = Default({});
  std::vector<Call> calls;
  // Type 77 is refused by the kernel before it looks at the family: no module is loaded.
  for (long family = 0; family < 64; ++family) calls.push_back({"socket", SYS_socket, family, 77});
  const std::vector<int> verdicts = Verdicts(filter, calls);
  for (long family = 0; family < 64; ++family) {
    const bool refused = family == AF_ALG || family == AF_VSOCK;
    EXPECT_EQ(verdicts[static_cast<size_t>(family)] == EPERM, refused) << "family " << family;
  }
}

TEST(DefaultFilter, KnowsTheCallsThatAreNewerThanTheLibrary) {
  const std::string filter = Default({});
  // Refused by the kernel itself for the bad arguments, or unknown to it: in no case EPERM by the
  // filter.
  for (const Call& call :
       {Call{"statmount", 457}, Call{"mseal", 462, 1}, Call{"setxattrat", 463, -1},
        Call{"cachestat", 451, -1}, Call{"fchmodat2", 452, -1}})
    EXPECT_NE(Verdict(filter, call), EPERM) << call.name;
}

TEST(DefaultFilter, OpensWhatACapabilityStandsFor) {
  const struct {
    const char* capability;
    Call call;
  } cases[] = {
      {"CAP_SYS_ADMIN", {"mount: bad pointers", SYS_mount, 1, 1}},
      {"CAP_SYS_ADMIN", {"umount2: bad pointer", SYS_umount2, 1}},
      {"CAP_SYS_ADMIN", {"clone3: bad size", SYS_clone3, 0, 1}},
      {"CAP_SYS_ADMIN", {"setns: bad descriptor", SYS_setns, -1}},
      {"CAP_SYS_ADMIN", {"open_tree_attr: bad descriptor", 467, -1, 1}},
      {"CAP_SYS_CHROOT", {"chroot: bad pointer", SYS_chroot, 1}},
      {"CAP_SYS_PTRACE", {"pidfd_getfd: bad descriptor", SYS_pidfd_getfd, -1}},
      {"CAP_SYS_NICE", {"get_mempolicy: bad flags", SYS_get_mempolicy, 0, 0, 0}},
      {"CAP_SYSLOG", {"syslog: bad type", SYS_syslog, 99}},
      {"CAP_SYS_TIME", {"clock_settime: bad clock", SYS_clock_settime, 99}},
  };
  const std::string plain = Default({});
  // What the kernel itself says: one without the call answers as the filter would.
  const std::string everything = FromJson(R"({"defaultAction":"SCMP_ACT_ALLOW"})");
  for (const auto& test : cases) {
    const int refused = test.call.number == SYS_clone3 ? ENOSYS : EPERM;
    EXPECT_EQ(Verdict(plain, test.call), refused) << test.call.name;
    const int opened = Verdict(Default({test.capability}), test.call);
    EXPECT_EQ(opened, Verdict(everything, test.call)) << test.capability << ", " << test.call.name;
  }
}

TEST(LocalhostFilter, BlocksWhatItNames) {
  const std::string filter = FromJson(R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
      {"names":["sethostname","mkdir","statmount","no_such_call"],"action":"SCMP_ACT_ERRNO"},
      {"names":["mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]})");
  EXPECT_EQ(Verdict(filter, {"sethostname", SYS_sethostname, 0, -1}), EPERM);
#ifdef SYS_mkdir
  EXPECT_EQ(Verdict(filter, {"mkdir", SYS_mkdir, 0}), EPERM);
#endif
  EXPECT_EQ(Verdict(filter, {"mkdirat", SYS_mkdirat, -1, 0}), ENOSPC);
  EXPECT_EQ(Verdict(filter, {"statmount, which libseccomp does not know", 457}), EPERM);
  EXPECT_EQ(Verdict(filter, {"setdomainname: too long", SYS_setdomainname, 0, -1}), EINVAL);
  EXPECT_EQ(Verdict(filter, {"a number above the table: the kernel's answer", 499}), ENOSYS);
}

TEST(LocalhostFilter, TakesTwoConditionsOnOneArgumentAsEither) {
  const std::string filter = FromJson(R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
      {"names":["getpriority"],"action":"SCMP_ACT_ERRNO","errnoRet":95,"args":[
        {"index":0,"value":0,"op":"SCMP_CMP_EQ"},{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]}]})");
  EXPECT_EQ(Verdict(filter, {"0", SYS_getpriority, 0, 0}), EOPNOTSUPP);
  EXPECT_EQ(Verdict(filter, {"1", SYS_getpriority, 1, 0}), EOPNOTSUPP);
  EXPECT_EQ(Verdict(filter, {"2", SYS_getpriority, 2, 0}), 0);
}

TEST(LocalhostFilter, GivesEnosysAboveWhatAnAllowListNames) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer makes calls of its own in the child";
#endif
  const std::string filter = FromJson(
      R"({"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],
      "syscalls":[{"names":["write","exit_group","rt_sigreturn","getpid","openat2"],
                   "action":"SCMP_ACT_ALLOW"}]})");
  EXPECT_EQ(Verdict(filter, {"getpid", SYS_getpid}), 0);
  EXPECT_EQ(Verdict(filter, {"getuid, below", SYS_getuid}), EPERM);
  EXPECT_EQ(Verdict(filter, {"faccessat2, above", SYS_faccessat2}), ENOSYS);
}

TEST(FilterCache, SharesAFilterUntilItIsPushedOut) {
  FilterCache cache(2);
  const auto first = cache.Default({"CAP_CHOWN"});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(cache.Default({"CAP_CHOWN"})->get(), first->get());
  constexpr char kAllow[] = R"({"defaultAction":"SCMP_ACT_ALLOW"})";
  constexpr char kErrno[] = R"({"defaultAction":"SCMP_ACT_LOG"})";
  const auto allow = cache.FromJson(kAllow, {});
  ASSERT_TRUE(allow.ok()) << allow.status();
  EXPECT_EQ(cache.FromJson(kAllow, {})->get(), allow->get());
  EXPECT_NE(cache.FromJson(kAllow, {"CAP_CHOWN"})->get(), allow->get());
  ASSERT_TRUE(cache.FromJson(kErrno, {}).ok());
  EXPECT_NE(cache.Default({"CAP_CHOWN"})->get(), first->get());
  EXPECT_FALSE((*first)->empty());
}

TEST(FilterCache, PassesErrorsOn) {
  FilterCache cache;
  EXPECT_TRUE(absl::IsInvalidArgument(cache.FromJson("{", {}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      cache.FromJson(R"({"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_NONE"]})", {})
          .status()));
}

}  // namespace
}  // namespace gantry::seccomp
