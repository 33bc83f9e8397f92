#include "runtime/exec_init.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "runtime/handshake.h"
#include "runtime/id_maps.h"
#include "runtime/identity.h"
#include "runtime/linux/cgroup.h"
#include "runtime/linux/file.h"
#include "runtime/linux/namespace.h"
#include "runtime/linux/process.h"
#include "runtime/rlimits.h"
#include "runtime/stdio.h"

namespace gantry::runtime {
namespace {

constexpr int kAllButUser =
    CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;

// A process may not join the user namespace that it is in (EINVAL); all others it may.
StatusOr<bool> IsInOtherUserNamespace(pid_t pid) {
  struct stat own;
  struct stat other;
  const std::string path = absl::StrCat("/proc/", pid, "/ns/user");
  if (stat("/proc/self/ns/user", &own) != 0) return SyscallError("stat", "/proc/self/ns/user");
  if (stat(path.c_str(), &other) != 0) return SyscallError("stat", path);
  return own.st_ino != other.st_ino;
}

}  // namespace

ExecInit::ExecInit(const ExecRequest& request, UniqueFd handshake)
    : request_(request),
      handshake_(std::move(handshake)),
      launch_(LaunchRequest{.process = *request.process,
                            .seccomp_bpf = request.seccomp_bpf,
                            .stdio = request.stdio,
                            .handshake = handshake_.get()}) {}

void ExecInit::Run() {
  Status status = DropInheritedFds();
  if (status.ok()) status = EnterV1Cgroups();
  if (status.ok()) status = launch_.Protect();
  if (status.ok()) status = JoinContainer();
  if (status.ok()) status = CloneReal();
  if (status.ok()) status = Launch();
  SendError(handshake_.get(), status);
  _exit(1);
}

Status ExecInit::DropInheritedFds() {
  std::vector<int> keep = {handshake_.get(), request_.container_pidfd};
  for (const int fd : request_.stdio) keep.push_back(fd);
  return CloseFdsExcept(std::move(keep));
}

Status ExecInit::EnterV1Cgroups() {
  // "0": the writer. While the host's paths are in view, and before the real process exists: it is
  // born inside.
  for (const std::string& directory : request_.v1_cgroup_dirs) {
    RETURN_IF_ERROR(EnterCgroup(directory));
  }
  return absl::OkStatus();
}

Status ExecInit::PrepareForUserNamespace() {
  const std::string proc = absl::StrCat("/proc/", request_.container_pid);
  ASSIGN_OR_RETURN(const std::string uids, ReadFileAt(AT_FDCWD, proc + "/uid_map"));
  ASSIGN_OR_RETURN(const std::string gids, ReadFileAt(AT_FDCWD, proc + "/gid_map"));
  IdMaps maps;
  ASSIGN_OR_RETURN(maps.uids, ParseIdMap(uids));
  ASSIGN_OR_RETURN(maps.gids, ParseIdMap(gids));
  ASSIGN_OR_RETURN(const uid_t uid, HostUser(request_.process->user, maps));
  RETURN_IF_ERROR(GiveStdio(request_.stdio, uid));
  return ApplyRlimits(request_.process->rlimits);
}

Status ExecInit::JoinContainer() {
  ASSIGN_OR_RETURN_CONTEXT(const bool other_user, IsInOtherUserNamespace(request_.container_pid),
                           "join container");
  if (other_user) RETURN_IF_ERROR(PrepareForUserNamespace());
  const int flags = kAllButUser | (other_user ? CLONE_NEWUSER : 0);
  const Status joined = JoinNamespace(request_.container_pidfd, flags, "container");
  if (ErrnoOf(joined) == ESRCH)
    return absl::FailedPreconditionError("the container is not running");
  if (!joined.ok() || !other_user) return joined;
  // A terminal that is opened in there belongs to who opens it.
  return BecomeNamespaceRoot();
}

Status ExecInit::CloneReal() {
  // Only children live in the joined PID namespace.
  ASSIGN_OR_RETURN(const ClonedProcess real, Clone(CloneRequest{.flags = CLONE_PARENT}));
  if (real.pid == 0) return absl::OkStatus();
  const Status sent = SendProcess(handshake_.get(), real.pid, real.pidfd.get());
  _exit(sent.ok() ? 0 : 1);
}

Status ExecInit::Launch() {
  // Joining a mount namespace sets root and working directory to its root.
  ASSIGN_OR_RETURN(const UniqueFd root, OpenAt(AT_FDCWD, "/", O_PATH | O_DIRECTORY));
  RETURN_IF_ERROR(launch_.SetUpTerminal(root.get(), /*console=*/false));
  RETURN_IF_ERROR(launch_.EnterIdentity(root.get(), UserNamespace()));
  return launch_.Execute();
}

}  // namespace gantry::runtime
