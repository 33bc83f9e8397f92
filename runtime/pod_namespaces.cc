#include "runtime/pod_namespaces.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "runtime/handshake.h"
#include "runtime/id_maps.h"
#include "runtime/linux/namespace.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/process.h"
#include "runtime/linux/unix_socket.h"
#include "runtime/pod_init_child.h"
#include "runtime/sysctls.h"

namespace gantry::runtime {
namespace {

Status CheckRequest(const PodNamespacesRequest& request) {
  std::set<std::string> types;
  for (const std::string& type : request.types) {
    if (type != "user" && type != "network" && type != "ipc" && type != "uts" && type != "pid") {
      return absl::InvalidArgumentError(
          absl::StrCat("a pod's \"", type, "\" namespace cannot be shared"));
    }
    types.insert(type);
  }
  if (types.contains("pid") && request.init_binary_fd < 0) {
    return absl::InvalidArgumentError("a shared pid namespace needs an init");
  }
  if (types.contains("user")) {
    RETURN_IF_ERROR(HostRoot({request.uid_mappings, request.gid_mappings}).status());
  }
  for (const auto& [name, value] : request.sysctls) {
    RETURN_IF_ERROR(CheckSysctl(name, value, types));
  }
  return absl::OkStatus();
}

// Of the namespaces that are not there yet.
uint64_t BirthFlags(const PodNamespacesRequest& request, const PodNamespaceFds& made) {
  uint64_t flags = CLONE_CLEAR_SIGHAND;
  for (const std::string& type : request.types) {
    if (!made.contains(type)) flags |= static_cast<uint64_t>(NamespaceFlag(type).value_or(0));
  }
  return flags;
}

// The namespaces, then, with an init, the end of file by which it tells that nobody can look into
// it.
StatusOr<PodNamespaces> Receive(const std::vector<std::string>& types, int socket) {
  PodNamespaces namespaces;
  while (true) {
    ASSIGN_OR_RETURN(HandshakeMessage message, ReceiveHandshake(socket, /*block=*/true));
    if (message.kind == HandshakeKind::kError) return message.error;
    if (message.kind == HandshakeKind::kClosed) break;
    if (message.kind != HandshakeKind::kReady || message.fds.size() != types.size()) {
      return absl::InternalError("handshake: an unexpected message");
    }
    for (size_t i = 0; i < types.size(); ++i) {
      namespaces.fds[types[i]] = std::move(message.fds[i]);
    }
  }
  if (namespaces.fds.size() != types.size()) {
    return absl::InternalError("the child that makes the pod's namespaces was killed");
  }
  return namespaces;
}

// The user namespace and those that it is to own. Only who is in it can make these, and who is in
// it may do nothing on the host: setting them up is left to PodInitChild, outside of it.
StatusOr<PodNamespaceFds> MakeOwned(const PodNamespacesRequest& request) {
  std::vector<std::string> types = request.types;
  std::erase(types, "pid");
  ASSIGN_OR_RETURN(auto ends, SocketPair(SOCK_SEQPACKET));
  ASSIGN_OR_RETURN_CONTEXT(const ClonedProcess child,
                           Clone(CloneRequest{.flags = CLONE_NEWUSER | CLONE_CLEAR_SIGHAND}),
                           "make the pod's user namespace");
  if (child.pid == 0) {
    ends.first.Reset();
    PodOwnerChild(types, std::move(ends.second)).Run();
  }
  ends.second.Reset();
  Status status = Annotate(WriteIdMaps(child.pid, {request.uid_mappings, request.gid_mappings}),
                           "map the ids of the pod's user namespace");
  if (status.ok()) status = SendHandshake(ends.first.get(), HandshakeKind::kContinue);
  StatusOr<PodNamespaces> owned =
      status.ok() ? Receive(types, ends.first.get()) : StatusOr<PodNamespaces>(status);
  (void)SignalPidFd(child.pidfd.get(), SIGKILL);
  (void)WaitPidFd(child.pidfd.get(), /*block=*/true);
  if (!owned.ok()) return owned.status();
  return std::move(owned->fds);
}

bool Has(const PodNamespacesRequest& request, const char* type) {
  return std::find(request.types.begin(), request.types.end(), type) != request.types.end();
}

}  // namespace

StatusOr<PodNamespaces> MakePodNamespaces(const PodNamespacesRequest& request) {
  RETURN_IF_ERROR(CheckRequest(request));
  if (request.types.empty()) return PodNamespaces();
  PodNamespaceFds owned;
  if (Has(request, "user")) {
    ASSIGN_OR_RETURN(owned, MakeOwned(request));
  }
  ASSIGN_OR_RETURN(auto ends, SocketPair(SOCK_SEQPACKET));
  ASSIGN_OR_RETURN(ClonedProcess child,
                   Clone(CloneRequest{.flags = BirthFlags(request, owned), .cgroup_fd = -1}));
  if (child.pid == 0) {
    ends.first.Reset();
    PodInitChild(request, owned, std::move(ends.second)).Run();
  }
  ends.second.Reset();
  StatusOr<PodNamespaces> namespaces = Receive(request.types, ends.first.get());
  const bool keep_child =
      namespaces.ok() && request.init_binary_fd >= 0 && namespaces->fds.contains("pid");
  if (keep_child) {
    namespaces->init_pid = child.pid;
    namespaces->init_pidfd = std::move(child.pidfd);
    return namespaces;
  }
  (void)SignalPidFd(child.pidfd.get(), SIGKILL);
  (void)WaitPidFd(child.pidfd.get(), /*block=*/true);
  return namespaces;
}

}  // namespace gantry::runtime
