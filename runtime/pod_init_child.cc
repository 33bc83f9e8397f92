#include "runtime/pod_init_child.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "runtime/capabilities.h"
#include "runtime/handshake.h"
#include "runtime/id_maps.h"
#include "runtime/linux/file.h"
#include "runtime/linux/mount.h"
#include "runtime/linux/namespace.h"
#include "runtime/linux/netlink.h"
#include "runtime/linux/process.h"
#include "runtime/rootfs.h"
#include "runtime/sysctls.h"

namespace gantry::runtime {

namespace {

// The descriptors of `types`, in their order: those that are given, and the caller's own.
Status SendNamespaces(const std::vector<std::string>& types, const PodNamespaceFds& given,
                      int handshake) {
  std::vector<UniqueFd> own;
  std::vector<int> fds;
  for (const std::string& type : types) {
    if (const auto found = given.find(type); found != given.end()) {
      fds.push_back(found->second.get());
      continue;
    }
    ASSIGN_OR_RETURN(UniqueFd fd, OwnNamespace(type));
    fds.push_back(fd.get());
    own.push_back(std::move(fd));
  }
  return SendHandshake(handshake, HandshakeKind::kReady, fds);
}

}  // namespace

void PodOwnerChild::Run() {
  Status status = CloseFdsExcept({handshake_.get()});
  if (status.ok()) status = MakeNamespaces();
  if (status.ok()) status = SendNamespaces(types_, {}, handshake_.get());
  if (status.ok()) _exit(0);
  SendError(handshake_.get(), Annotate(status, "pod namespaces"));
  _exit(1);
}

Status PodOwnerChild::MakeNamespaces() {
  ASSIGN_OR_RETURN(const HandshakeMessage mapped,
                   ReceiveHandshake(handshake_.get(), /*block=*/true));
  if (mapped.kind != HandshakeKind::kContinue) _exit(1);
  // Before anything is made: it belongs to the namespace's root then.
  RETURN_IF_ERROR(BecomeNamespaceRoot());
  int flags = 0;
  for (const std::string& type : types_) {
    if (type != "user") flags |= NamespaceFlag(type).value_or(0);
  }
  return flags == 0 ? absl::OkStatus() : Unshare(flags);
}

PodInitChild::PodInitChild(const PodNamespacesRequest& request, const PodNamespaceFds& owned,
                           UniqueFd handshake)
    : request_(request), owned_(owned), handshake_(std::move(handshake)) {}

void PodInitChild::Run() {
  Status status = DropInheritedFds();
  if (status.ok()) status = JoinOwned();
  if (status.ok()) status = SetUpNamespaces();
  if (status.ok()) status = HandOver();
  if (status.ok() && !Has("pid")) _exit(0);
  if (status.ok()) status = EnterEmptyRoot();
  if (status.ok()) status = GiveUpPrivileges();
  if (status.ok()) status = BecomeInit();
  SendError(handshake_.get(), Annotate(status, "pod namespaces"));
  _exit(1);
}

bool PodInitChild::Has(const char* type) const {
  return std::find(request_.types.begin(), request_.types.end(), type) != request_.types.end();
}

Status PodInitChild::DropInheritedFds() {
  std::vector<int> keep = {handshake_.get(), request_.init_binary_fd};
  for (const auto& [type, fd] : owned_) keep.push_back(fd.get());
  return CloseFdsExcept(std::move(keep));
}

Status PodInitChild::JoinOwned() {
  for (const auto& [type, fd] : owned_) {
    if (type == "user") continue;
    RETURN_IF_ERROR(JoinNamespace(fd.get(), NamespaceFlag(type).value_or(0), type));
  }
  return absl::OkStatus();
}

Status PodInitChild::SetUpNamespaces() {
  if (Has("uts") && !request_.hostname.empty() &&
      sethostname(request_.hostname.data(), request_.hostname.size()) != 0) {
    return SyscallError("sethostname", request_.hostname);
  }
  if (Has("network")) RETURN_IF_ERROR(BringLoopbackUp());
  HostOwner owner;
  if (Has("user")) {
    ASSIGN_OR_RETURN(owner, HostRoot({request_.uid_mappings, request_.gid_mappings}));
  }
  return ApplySysctls(request_.sysctls,
                      std::set<std::string>(request_.types.begin(), request_.types.end()), owner);
}

Status PodInitChild::HandOver() { return SendNamespaces(request_.types, owned_, handshake_.get()); }

Status PodInitChild::EnterEmptyRoot() {
  RETURN_IF_ERROR(Unshare(CLONE_NEWNS | CLONE_NEWCGROUP));
  RETURN_IF_ERROR(Mount("", "/", "", MS_SLAVE | MS_REC));
  ASSIGN_OR_RETURN(
      const UniqueFd empty,
      NewMount("tmpfs", "gantry-init", {{"size", "0"}, {"mode", "555"}},
               MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
  // Any directory will do as the place to pivot from: it lives in this namespace alone, and goes
  // with the old root.
  ASSIGN_OR_RETURN(const UniqueFd place, OpenAt(AT_FDCWD, "/proc", O_PATH | O_DIRECTORY));
  RETURN_IF_ERROR(MoveMount(empty.get(), place.get(), "empty root"));
  return PivotInto(empty.get(), /*shared=*/false);
}

Status PodInitChild::GiveUpPrivileges() {
  if (const auto user = owned_.find("user"); user != owned_.end()) {
    RETURN_IF_ERROR(JoinNamespace(user->second.get(), CLONE_NEWUSER, "user"));
    RETURN_IF_ERROR(BecomeNamespaceRoot());
  }
  RETURN_IF_ERROR(DropBounding(0));
  RETURN_IF_ERROR(SetCapabilities(CapabilitySets{}));
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return SyscallError("set no_new_privs");
  return absl::OkStatus();
}

Status PodInitChild::BecomeInit() {
  if (setsid() < 0) return SyscallError("setsid");
  sigset_t none;
  sigemptyset(&none);
  if (sigprocmask(SIG_SETMASK, &none, nullptr) != 0) return SyscallError("sigprocmask");
  // Not even 0, 1 and 2 are left to it, but the handshake, which it closes once it is undumpable:
  // before that, no container may be born beside it.
  if (close_range(0, ~0U, CLOSE_RANGE_CLOEXEC) != 0) return SyscallError("close_range");
  if (fcntl(handshake_.get(), F_SETFD, 0) != 0) return SyscallError("keep the handshake open");
  char name[] = "gantry-init";
  char* const argv[] = {name, nullptr};
  char* const envp[] = {nullptr};
  fexecve(request_.init_binary_fd, argv, envp);
  return SyscallError("exec", "gantry-init");
}

}  // namespace gantry::runtime
