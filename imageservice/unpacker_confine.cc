#include "imageservice/unpacker_confine.h"

#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/linux/unique_fd.h"

namespace gantry::images {
namespace {

constexpr rlim_t kMaxDescriptors = 1024;
constexpr rlim_t kMaxData = 1u << 30;

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "an architecture whose system calls we do not know"
#endif

constexpr uid_t kNobody = 65534;

constexpr int kFchmodat2 = 452;  // glibc 2.36 has no name for it

// Writing a tree. A kernel without fchmodat2 answers ENOSYS, as it should.
constexpr int kTreeCalls[] = {
    SYS_openat,    SYS_openat2,  SYS_newfstatat, SYS_statx,    SYS_getdents64, SYS_lseek,
    SYS_mkdirat,   SYS_mknodat,  SYS_symlinkat,  SYS_linkat,   SYS_unlinkat,   SYS_readlinkat,
    SYS_fchown,    SYS_fchownat, SYS_fchmod,     SYS_fchmodat, kFchmodat2,     SYS_fsetxattr,
    SYS_utimensat, SYS_write,    SYS_fcntl};
// Reading one.
constexpr int kReadingCalls[] = {SYS_openat2, SYS_newfstatat};
// Files that are open.
constexpr int kFileCalls[] = {SYS_close,     SYS_pread64, SYS_pwrite64,
                              SYS_ftruncate, SYS_fstat,   SYS_fstatfs};
constexpr int kOtherCalls[] = {
    // The ring and the answer.
    SYS_read, SYS_recvmsg, SYS_recvfrom, SYS_sendmsg, SYS_sendto, SYS_ppoll,
#ifdef SYS_poll
    SYS_poll,
#endif
    // What the C library does.
    SYS_brk, SYS_munmap, SYS_mremap, SYS_madvise, SYS_futex, SYS_getrandom, SYS_clock_gettime,
    SYS_rt_sigreturn, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_sigaltstack, SYS_restart_syscall,
#ifdef __SANITIZE_ADDRESS__
    SYS_pipe2,  // how the sanitizer finds out whether memory is readable
#endif
    SYS_getpid, SYS_gettid, SYS_tgkill, SYS_exit, SYS_exit_group,
    // Of a thread.
    SYS_set_robust_list, SYS_rseq};
// Allowed without PROT_EXEC.
constexpr int kAllowedNoExec[] = {SYS_mmap, SYS_mprotect};

sock_filter Load(size_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset));
}
sock_filter Return(uint32_t action) { return BPF_STMT(BPF_RET | BPF_K, action); }

void Allow(std::span<const int> calls, std::vector<sock_filter>* filter) {
  for (const int nr : calls) {
    filter->push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(nr), 0, 1));
    filter->push_back(Return(SECCOMP_RET_ALLOW));
  }
}

std::vector<sock_filter> Filter(std::span<const int> calls, bool threads) {
  constexpr uint32_t kDeny = SECCOMP_RET_ERRNO | EPERM;
  std::vector<sock_filter> filter = {
      Load(offsetof(seccomp_data, arch)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0),
      Return(SECCOMP_RET_KILL_PROCESS),
      Load(offsetof(seccomp_data, nr)),  // x32 numbers have bit 30 set and match nothing below
  };
  Allow(calls, &filter);
  Allow(kFileCalls, &filter);
  Allow(kOtherCalls, &filter);
  for (int nr : kAllowedNoExec) {
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(nr), 0, 4));
    filter.push_back(Load(offsetof(seccomp_data, args) + 2 * sizeof(uint64_t)));  // little endian
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1));
    filter.push_back(Return(kDeny));
    filter.push_back(Return(SECCOMP_RET_ALLOW));
  }
  if (!threads) {
    filter.push_back(Return(kDeny));
    return filter;
  }
  // Threads, not processes. What clone3 would make stands in memory, where a filter cannot look;
  // the C library asks clone when there is no clone3.
  filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1));
  filter.push_back(Return(SECCOMP_RET_ERRNO | ENOSYS));
  filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3));
  filter.push_back(Load(offsetof(seccomp_data, args)));
  filter.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1));
  filter.push_back(Return(SECCOMP_RET_ALLOW));
  filter.push_back(Return(kDeny));
  return filter;
}

// `calls`: allowed beside those that all need.
Status InstallFilter(std::span<const int> calls, bool threads) {
  std::vector<sock_filter> filter = Filter(calls, threads);
  const sock_fprog program = {static_cast<unsigned short>(filter.size()), filter.data()};
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0) {
    return SyscallError("prctl", "seccomp");
  }
  return absl::OkStatus();
}

// The newest form of landlock_ruleset_attr; a kernel takes the part that its version knows.
struct RulesetAttributes {
  uint64_t fs, net, scoped;
};
constexpr uint64_t kFsVersion1 = (1u << 13) - 1, kRefer = 1u << 13, kTruncate = 1u << 14,
                   kIoctl = 1u << 15;
constexpr uint64_t kTcp = 3, kScopes = 3;

Status AllowTree(int ruleset, int tree, uint64_t rights) {
  const landlock_path_beneath_attr rule = {rights, tree};
  if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
    return SyscallError("landlock_add_rule");
  }
  return absl::OkStatus();
}

constexpr uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE;
constexpr uint64_t kMakeAndChange = ~(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE |
                                      LANDLOCK_ACCESS_FS_MAKE_SOCK | kIoctl);

// `tree`: the directory below which there are `rights`; -1: nothing may be reached.
Status RestrictFiles(int tree, uint64_t rights) {
  const long version =
      syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  // Version 1 refuses every hard link between directories. What else is given up holds without it.
  if (version < (tree < 0 ? 1 : 2)) return absl::OkStatus();
  RulesetAttributes attributes = {kFsVersion1, 0, 0};
  size_t size = sizeof(uint64_t);
  if (version >= 2) attributes.fs |= kRefer;
  if (version >= 3) attributes.fs |= kTruncate;
  if (version >= 4) {
    attributes.net = kTcp;
    size = 2 * sizeof(uint64_t);
  }
  if (version >= 5) attributes.fs |= kIoctl;
  if (version >= 6) {
    attributes.scoped = kScopes;
    size = 3 * sizeof(uint64_t);
  }
  UniqueFd ruleset(static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, size, 0)));
  if (!ruleset.valid()) return SyscallError("landlock_create_ruleset");
  if (tree >= 0) RETURN_IF_ERROR(AllowTree(ruleset.get(), tree, attributes.fs & rights));
  if (syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) {
    return SyscallError("landlock_restrict_self");
  }
  return absl::OkStatus();
}

Status KeepCapabilities(std::span<const int> kept) {
  uint32_t mask = 0;
  for (const int capability : kept) mask |= 1u << capability;
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {{mask, mask, 0}, {0, 0, 0}};
  if (syscall(SYS_capset, &header, data) != 0) return SyscallError("capset");
  return absl::OkStatus();
}

Status BecomeNobody(std::span<const int> kept) {
  if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return SyscallError("prctl", "keepcaps");
  if (setgroups(0, nullptr) != 0) return SyscallError("setgroups");
  if (setresgid(kNobody, kNobody, kNobody) != 0) return SyscallError("setresgid");
  if (setresuid(kNobody, kNobody, kNobody) != 0) return SyscallError("setresuid");
  return KeepCapabilities(kept);
}

Status Limit() {
  const rlimit no_core = {0, 0}, descriptors = {kMaxDescriptors, kMaxDescriptors};
  if (setrlimit(RLIMIT_CORE, &no_core) != 0) return SyscallError("setrlimit", "core");
  if (setrlimit(RLIMIT_NOFILE, &descriptors) != 0) return SyscallError("setrlimit", "nofile");
#ifndef __SANITIZE_ADDRESS__  // its shadow is larger than any sane limit
  const rlimit data = {kMaxData, kMaxData};
  if (setrlimit(RLIMIT_DATA, &data) != 0) return SyscallError("setrlimit", "data");
#endif
  return absl::OkStatus();
}

struct TreeRights {
  bool nobody;
  uint64_t files;
  std::span<const int> capabilities;
  std::span<const int> calls;
};

Status ConfineBelow(int tree, const TreeRights& rights) {
  RETURN_IF_ERROR(Limit());
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return SyscallError("prctl", "no_new_privs");
  // Also the place of refuge on kernels without Landlock: no descriptor leads out, and
  // CAP_SYS_CHROOT goes below.
  if (fchdir(tree) != 0) return SyscallError("fchdir", "the layer");
  if (chroot(".") != 0) return SyscallError("chroot", "the layer");
  RETURN_IF_ERROR(RestrictFiles(tree, rights.files));
  RETURN_IF_ERROR(rights.nobody ? BecomeNobody(rights.capabilities)
                                : KeepCapabilities(rights.capabilities));
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return SyscallError("prctl", "dumpable");
  // Last: it forbids what the steps before need.
  return InstallFilter(rights.calls, /*threads=*/false);
}

}  // namespace

Status ConfineToTree(int staging) {
  constexpr int kKept[] = {CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER,
                           CAP_FSETID, CAP_MKNOD,        CAP_SETFCAP};
  return ConfineBelow(staging, {false, kMakeAndChange, kKept, kTreeCalls});
}

Status ConfineToReading(int tree) {
  // Files of anybody; as nobody, because Landlock knows O_TRUNC since Linux 6.2 only.
  constexpr int kKept[] = {CAP_DAC_READ_SEARCH};
  return ConfineBelow(tree, {true, kRead, kKept, kReadingCalls});
}

Status ConfineToFiles(bool threads) {
  RETURN_IF_ERROR(Limit());
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return SyscallError("prctl", "no_new_privs");
  RETURN_IF_ERROR(RestrictFiles(-1, 0));
  RETURN_IF_ERROR(BecomeNobody({}));
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return SyscallError("prctl", "dumpable");
  return InstallFilter({}, threads);
}

}  // namespace gantry::images
