#include "runtime/pod_namespaces.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "runtime/handshake.h"
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
    if (type != "network" && type != "ipc" && type != "uts" && type != "pid") {
      const bool later = type == "user";
      const std::string text = absl::StrCat("a pod's \"", type, "\" namespace");
      return later ? absl::UnimplementedError(absl::StrCat(text, " is not supported yet"))
                   : absl::InvalidArgumentError(absl::StrCat(text, " cannot be shared"));
    }
    types.insert(type);
  }
  if (types.contains("pid") && request.init_binary_fd < 0) {
    return absl::InvalidArgumentError("a shared pid namespace needs an init");
  }
  for (const auto& [name, value] : request.sysctls) {
    RETURN_IF_ERROR(CheckSysctl(name, value, types));
  }
  return absl::OkStatus();
}

uint64_t BirthFlags(const PodNamespacesRequest& request) {
  uint64_t flags = CLONE_CLEAR_SIGHAND;
  for (const std::string& type : request.types) {
    flags |= static_cast<uint64_t>(NamespaceFlag(type).value_or(0));
  }
  return flags;
}

// The namespaces, then, with an init, the end of file that tells of its execve.
StatusOr<PodNamespaces> Receive(const PodNamespacesRequest& request, int socket) {
  PodNamespaces namespaces;
  while (true) {
    ASSIGN_OR_RETURN(HandshakeMessage message, ReceiveHandshake(socket, /*block=*/true));
    if (message.kind == HandshakeKind::kError) return message.error;
    if (message.kind == HandshakeKind::kClosed) break;
    if (message.kind != HandshakeKind::kReady || message.fds.size() != request.types.size()) {
      return absl::InternalError("handshake: an unexpected message");
    }
    for (size_t i = 0; i < request.types.size(); ++i) {
      namespaces.fds[request.types[i]] = std::move(message.fds[i]);
    }
  }
  if (namespaces.fds.size() != request.types.size()) {
    return absl::InternalError("the child that makes the pod's namespaces was killed");
  }
  return namespaces;
}

}  // namespace

StatusOr<PodNamespaces> MakePodNamespaces(const PodNamespacesRequest& request) {
  RETURN_IF_ERROR(CheckRequest(request));
  if (request.types.empty()) return PodNamespaces();
  ASSIGN_OR_RETURN(auto ends, SocketPair(SOCK_SEQPACKET));
  ASSIGN_OR_RETURN(ClonedProcess child,
                   Clone(CloneRequest{.flags = BirthFlags(request), .cgroup_fd = -1}));
  if (child.pid == 0) {
    ends.first.Reset();
    PodInitChild(request, std::move(ends.second)).Run();
  }
  ends.second.Reset();
  StatusOr<PodNamespaces> namespaces = Receive(request, ends.first.get());
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
