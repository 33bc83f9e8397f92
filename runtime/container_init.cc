#include "runtime/container_init.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "runtime/devices.h"
#include "runtime/handshake.h"
#include "runtime/isolation.h"
#include "runtime/linux/cgroup.h"
#include "runtime/linux/file.h"
#include "runtime/linux/namespace.h"
#include "runtime/linux/netlink.h"
#include "runtime/linux/path_in_root.h"
#include "runtime/linux/process.h"
#include "runtime/mounts.h"
#include "runtime/sysctls.h"

namespace gantry::runtime {

ContainerInit::ContainerInit(const CreateRequest& request, const IdMapNamespaces& id_maps,
                             UniqueFd handshake)
    : request_(request),
      spec_(*request.spec),
      id_map_namespaces_(id_maps),
      handshake_(std::move(handshake)),
      launch_(LaunchRequest{.process = *spec_.process,
                            .seccomp_bpf = request.seccomp_bpf,
                            .stdio = request.stdio,
                            .handshake = handshake_.get()}) {}

void ContainerInit::Run() {
  Status status = DropInheritedFds();
  if (status.ok()) {
    WaitFor(static_cast<int>(HandshakeKind::kContinue));
    status = SetUp();
  }
  if (status.ok()) status = SendHandshake(handshake_.get(), HandshakeKind::kReady);
  if (status.ok()) {
    WaitFor(static_cast<int>(HandshakeKind::kStart));
    status = launch_.Execute();
  }
  SendError(handshake_.get(), status);
  _exit(1);
}

Status ContainerInit::SetUp() {
  struct Stage {
    const char* context;  // what an error begins with; empty: it speaks for itself
    Status (ContainerInit::*run)();
  };
  constexpr Stage kStages[] = {
      {"", &ContainerInit::EnterV1Cgroups},
      {"protect init", &ContainerInit::Protect},
      {"join namespaces", &ContainerInit::JoinNamespaces},
      {"user namespace", &ContainerInit::OwnWhatIsMade},
      {"set hostname", &ContainerInit::NameHost},
      {"set up network namespace", &ContainerInit::SetUpNetwork},
      {"", &ContainerInit::ApplySysctls},
      {"make namespaces", &ContainerInit::UnshareMounts},
      {"attach root file system", &ContainerInit::AttachRoot},
      {"", &ContainerInit::MakeMounts},
      {"set up /dev", &ContainerInit::MakeDevices},
      {"", &ContainerInit::MakeWorkingDirectory},
      {"", &ContainerInit::Isolate},
      {"enter root file system", &ContainerInit::EnterRoot},
      {"", &ContainerInit::EnterIdentity},
  };
  for (const Stage& stage : kStages) {
    const Status status = (this->*stage.run)();
    if (!status.ok()) return *stage.context == '\0' ? status : Annotate(status, stage.context);
  }
  return absl::OkStatus();
}

void ContainerInit::WaitFor(int kind) const {
  const auto message = ReceiveHandshake(handshake_.get(), /*block=*/true);
  if (!message.ok() || static_cast<int>(message->kind) != kind) _exit(1);
}

Status ContainerInit::DropInheritedFds() {
  // A copy of another container's stdin or handshake kept here would keep that one from seeing its
  // end.
  std::vector<int> keep = {handshake_.get(), request_.rootfs_fd};
  for (const int fd : request_.stdio) keep.push_back(fd);
  for (const auto& [type, fd] : request_.join_namespaces) keep.push_back(fd);
  for (const auto& [destination, fd] : request_.mounts) keep.push_back(fd);
  for (const auto& [key, fd] : id_map_namespaces_) keep.push_back(fd.get());
  return CloseFdsExcept(std::move(keep));
}

Status ContainerInit::EnterV1Cgroups() {
  for (const std::string& directory : request_.v1_cgroup_dirs)
    RETURN_IF_ERROR(EnterCgroup(directory));
  return absl::OkStatus();
}

bool ContainerInit::IsNew(const std::string& type) const {
  if (request_.join_namespaces.contains(type)) return false;
  for (const spec::Namespace& ns : spec_.linux_.namespaces) {
    if (ns.type == type) return ns.path.empty();
  }
  return false;
}

Status ContainerInit::JoinNamespaces() {
  // The PID namespace is joined from birth, the user namespace last of all, by EnterIdentity.
  std::vector<std::pair<std::string, UniqueFd>> by_path;
  for (const spec::Namespace& ns : spec_.linux_.namespaces) {
    const bool by_fd = request_.join_namespaces.contains(ns.type);
    if (ns.path.empty() || by_fd || ns.type == "pid") continue;
    ASSIGN_OR_RETURN_CONTEXT(UniqueFd fd, OpenAt(AT_FDCWD, ns.path, O_RDONLY), ns.type);
    by_path.emplace_back(ns.type, std::move(fd));
  }
  std::vector<std::pair<std::string, int>> all;
  for (const auto& [type, fd] : request_.join_namespaces) all.emplace_back(type, fd);
  for (const auto& [type, fd] : by_path) all.emplace_back(type, fd.get());
  for (const auto& [type, fd] : all) {
    if (type == "pid") continue;
    if (type == "user") {
      user_namespace_.Reset(fcntl(fd, F_DUPFD_CLOEXEC, 3));
      if (!user_namespace_.valid()) return SyscallError("dup", "user namespace");
      continue;
    }
    RETURN_IF_ERROR(JoinNamespace(fd, NamespaceFlag(type).value_or(0), type));
  }
  return absl::OkStatus();
}

Status ContainerInit::OwnWhatIsMade() {
  if (!user_namespace_.valid()) return absl::OkStatus();
  id_maps_ = {spec_.linux_.uid_mappings, spec_.linux_.gid_mappings};
  ASSIGN_OR_RETURN(const HostOwner root, HostRoot(id_maps_));
  return MakeFilesAs(root);
}

Status ContainerInit::NameHost() {
  // A joined namespace has its name already; the host's is not ours to change.
  if (!IsNew("uts")) return absl::OkStatus();
  if (!spec_.hostname.empty() && sethostname(spec_.hostname.data(), spec_.hostname.size()) != 0) {
    return SyscallError("sethostname", spec_.hostname);
  }
  if (!spec_.domainname.empty() &&
      setdomainname(spec_.domainname.data(), spec_.domainname.size()) != 0) {
    return SyscallError("setdomainname", spec_.domainname);
  }
  return absl::OkStatus();
}

Status ContainerInit::SetUpNetwork() {
  return IsNew("network") ? BringLoopbackUp() : absl::OkStatus();
}

Status ContainerInit::ApplySysctls() {
  std::set<std::string> namespaces;
  for (const spec::Namespace& ns : spec_.linux_.namespaces) namespaces.insert(ns.type);
  return runtime::ApplySysctls(spec_.linux_.sysctl, namespaces);
}

Status ContainerInit::UnshareMounts() {
  // Modes of what is made from here on are as written.
  umask(0);
  return Unshare(CLONE_NEWNS | (IsNew("cgroup") ? CLONE_NEWCGROUP : 0));
}

Status ContainerInit::AttachRoot() {
  ASSIGN_OR_RETURN(root_,
                   runtime::AttachRoot(spec_, request_.rootfs_fd, request_.rootfs_mount_point));
  return absl::OkStatus();
}

Status ContainerInit::MakeMounts() {
  const MountContext context{.root = root_,
                             .cgroup_namespace = IsNew("cgroup"),
                             .bin = bin_,
                             .id_maps = id_maps_,
                             .id_map_namespaces = id_map_namespaces_,
                             .ready_mounts = request_.mounts};
  for (const spec::Mount& mount : spec_.mounts) RETURN_IF_ERROR(MakeMount(context, mount));
  return absl::OkStatus();
}

Status ContainerInit::MakeDevices() {
  if (!HasForeignDev(spec_)) RETURN_IF_ERROR(SetUpDevices(spec_, id_maps_, root_.fd.get()));
  return launch_.SetUpTerminal(root_.fd.get(), /*console=*/true);
}

Status ContainerInit::MakeWorkingDirectory() {
  if (spec_.process->cwd == "/") return absl::OkStatus();
  return Annotate(EnsureInRoot(root_.fd.get(), spec_.process->cwd, NodeKind::kDirectory).status(),
                  absl::StrCat("working directory \"", spec_.process->cwd, "\""));
}

Status ContainerInit::Isolate() {
  RETURN_IF_ERROR(MakePathsReadOnly(spec_.linux_.readonly_paths, root_.fd.get(), bin_));
  RETURN_IF_ERROR(MaskPaths(spec_.linux_.masked_paths, root_.fd.get(), bin_));
  return absl::OkStatus();
}

Status ContainerInit::EnterRoot() {
  RETURN_IF_ERROR(PivotInto(root_.fd.get(), root_.shared));
  return SealRoot(spec_, root_.fd.get());
}

Status ContainerInit::EnterIdentity() {
  return launch_.EnterIdentity(
      root_.fd.get(),
      {.fd = user_namespace_.get(), .maps = id_maps_, .new_cgroup_namespace = IsNew("cgroup")});
}

}  // namespace gantry::runtime
