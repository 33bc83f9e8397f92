#include "runtime/process_launch.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "runtime/handshake.h"
#include "runtime/identity.h"
#include "runtime/linux/file.h"
#include "runtime/linux/namespace.h"
#include "runtime/linux/path_in_root.h"
#include "runtime/linux/process.h"
#include "runtime/program.h"
#include "runtime/rlimits.h"
#include "runtime/seccomp_filter.h"

namespace gantry::runtime {
namespace {

constexpr mode_t kUsualUmask = 0022;

// Without CAP_SYS_RESOURCE the score cannot go below where it has been: it then stays as it is.
Status SetOomScore(const std::optional<int>& score) {
  if (!score.has_value()) return absl::OkStatus();
  const Status status = WriteFileAt(AT_FDCWD, "/proc/self/oom_score_adj", absl::StrCat(*score));
  return ErrnoOf(status) == EACCES ? absl::OkStatus() : status;
}

// What the program's execve is to change to. The paths are the kernel's own (proc(5)); AppArmor's
// old one serves kernels that stack no modules.
Status SetLabels(const spec::Process& process) {
  if (!process.apparmor_profile.empty()) {
    const std::string command = absl::StrCat("exec ", process.apparmor_profile);
    Status status = WriteFileAt(AT_FDCWD, "/proc/self/attr/apparmor/exec", command);
    if (ErrnoOf(status) == ENOENT) {
      status = WriteFileAt(AT_FDCWD, "/proc/self/attr/exec", command);
    }
    RETURN_IF_ERROR_CONTEXT(status,
                            absl::StrCat("AppArmor profile \"", process.apparmor_profile, "\""));
  }
  if (process.selinux_label.empty()) return absl::OkStatus();
  return Annotate(WriteFileAt(AT_FDCWD, "/proc/self/attr/exec", process.selinux_label),
                  absl::StrCat("SELinux label \"", process.selinux_label, "\""));
}

// A working directory outside of the root would be a way out (CVE-2024-21626): magic links are
// refused on the way, and the kernel's own idea of where we are has the last word.
Status EnterDirectory(const std::string& path, int root_fd) {
  ASSIGN_OR_RETURN(const UniqueFd directory, OpenInRoot(root_fd, path, O_PATH | O_DIRECTORY));
  if (fchdir(directory.get()) != 0) return SyscallError("chdir", path);
  char where[PATH_MAX];
  const long size = syscall(SYS_getcwd, where, sizeof where);
  if (size < 0) return SyscallError("getcwd", path);
  if (where[0] != '/') return absl::InternalError(absl::StrCat(path, ": outside of the root"));
  return absl::OkStatus();
}

// Joined with the mounts of the container, which then belong to the user namespace: what was made
// for the container stays as it is (mount_namespaces(7): locked), whatever capabilities it has in
// there. Returns the root as it is afterwards.
StatusOr<UniqueFd> EnterUserNamespace(const UserNamespace& target) {
  RETURN_IF_ERROR(JoinNamespace(target.fd, CLONE_NEWUSER, "user"));
  RETURN_IF_ERROR(BecomeNamespaceRoot());
  RETURN_IF_ERROR(Unshare(CLONE_NEWNS | (target.new_cgroup_namespace ? CLONE_NEWCGROUP : 0)));
  return OpenAt(AT_FDCWD, "/", O_PATH | O_DIRECTORY);
}

// Ignored signals stay ignored over execve, and blocked ones blocked; handlers went with the clone.
Status ResetSignals(uint64_t ignored) {
  struct sigaction usual = {};
  usual.sa_handler = SIG_DFL;
  for (int signal = 1; signal <= SIGSYS; ++signal) {
    if ((ignored >> (signal - 1) & 1) != 0) sigaction(signal, &usual, nullptr);
  }
  sigset_t none;
  sigemptyset(&none);
  if (sigprocmask(SIG_SETMASK, &none, nullptr) != 0) return SyscallError("sigprocmask");
  return absl::OkStatus();
}

}  // namespace

Status ProcessLaunch::Protect() {
  ASSIGN_OR_RETURN(ignored_signals_, IgnoredSignals());
  RETURN_IF_ERROR(SetOomScore(request_.process.oom_score_adj));
  RETURN_IF_ERROR(SetLabels(request_.process));
  // Until execve we are a copy of the caller, with what it holds open: not for a container's eyes
  // (CVE-2016-9962).
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return SyscallError("set undumpable");
  // Keys of whoever started the runtime are not the container's. Kernels without keys, or a full
  // quota, may refuse.
  (void)syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);
  return absl::OkStatus();
}

Status ProcessLaunch::SetUpTerminal(int root_fd, bool console) {
  if (!request_.process.terminal) return absl::OkStatus();
  ASSIGN_OR_RETURN(terminal_, OpenTerminal(root_fd, request_.process.console_size));
  if (console) RETURN_IF_ERROR(MountConsole(*terminal_, root_fd));
  const int master = terminal_->master.get();
  return SendHandshake(request_.handshake, HandshakeKind::kTerminal,
                       std::span<const int>(&master, 1));
}

Status ProcessLaunch::EnterIdentity(int root_fd, const UserNamespace& user_namespace) {
  const spec::Process& process = request_.process;
  ASSIGN_OR_RETURN(const uid_t uid, HostUser(process.user, user_namespace.maps));
  if (setsid() < 0) return SyscallError("setsid");
  RETURN_IF_ERROR(terminal_.has_value() ? AttachTerminal(*terminal_, uid)
                                        : AttachStdio(request_.stdio, uid, root_fd));
  environment_ = WithHome(process.env, process.user.uid, root_fd);
  RETURN_IF_ERROR(ApplyRlimits(process.rlimits));
  UniqueFd root;
  if (user_namespace.fd >= 0) {
    ASSIGN_OR_RETURN_CONTEXT(root, EnterUserNamespace(user_namespace), "user namespace");
    root_fd = root.get();
  }
  // As the container's root first: the user may be shut out of its own working directory's parents.
  // Where root is shut out (network file systems), the user tries.
  Status entered = EnterDirectory(process.cwd, root_fd);
  const bool try_as_user = ErrnoOf(entered) == EACCES;
  const std::string context = absl::StrCat("working directory \"", process.cwd, "\"");
  if (!try_as_user) RETURN_IF_ERROR_CONTEXT(entered, context);
  umask(process.user.umask.value_or(kUsualUmask));
  // Without no_new_privs a filter needs CAP_SYS_ADMIN, which the next step takes away.
  if (!process.no_new_privileges) RETURN_IF_ERROR(InstallSeccompFilter(request_.seccomp_bpf));
  RETURN_IF_ERROR(AssumeIdentity(process));
  if (try_as_user) RETURN_IF_ERROR_CONTEXT(EnterDirectory(process.cwd, root_fd), context);
  return CloseFdsExcept({request_.handshake});
}

Status ProcessLaunch::Execute() {
  RETURN_IF_ERROR(ResetSignals(ignored_signals_));
  // The later the better: with no_new_privs nothing but execve has to pass the filter.
  if (request_.process.no_new_privileges) {
    RETURN_IF_ERROR(InstallSeccompFilter(request_.seccomp_bpf));
  }
  return runtime::Execute(request_.process.args, environment_);
}

}  // namespace gantry::runtime
