#include "runtime/create.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

#include "runtime/container_init.h"
#include "runtime/handshake.h"
#include "runtime/id_maps.h"
#include "runtime/linux/file.h"
#include "runtime/linux/namespace.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/process.h"
#include "runtime/linux/unix_socket.h"

namespace gantry::runtime {
namespace {

Status CheckRequest(const CreateRequest& request) {
  const spec::Spec& spec = *request.spec;
  if (!spec.process.has_value()) return absl::InvalidArgumentError("the spec has no process");
  if (spec.process->args.empty()) return absl::InvalidArgumentError("process.args is empty");
  if (request.rootfs_fd < 0 && spec.root.path.empty()) {
    return absl::InvalidArgumentError("the spec has no root.path");
  }
  for (const spec::Namespace& ns : spec.linux_.namespaces) {
    if (ns.type == "mount" && !ns.path.empty()) {
      return absl::UnimplementedError("joining a mount namespace is not supported");
    }
  }
  if (!spec.hooks.create_container.empty() || !spec.hooks.start_container.empty()) {
    return absl::UnimplementedError("createContainer and startContainer hooks are not supported");
  }
  return absl::OkStatus();
}

// What the child is born with. Mount and cgroup namespaces come later: the child makes them once it
// stands in its cgroups, and once it no longer needs what the host's mounts show.
StatusOr<uint64_t> BirthFlags(const CreateRequest& request) {
  uint64_t flags = CLONE_CLEAR_SIGHAND;
  for (const spec::Namespace& ns : request.spec->linux_.namespaces) {
    const std::optional<int> flag = NamespaceFlag(ns.type);
    if (!flag.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("unknown namespace type \"", ns.type, "\""));
    }
    if (!ns.path.empty() || request.join_namespaces.contains(ns.type)) continue;
    if (ns.type == "user" || ns.type == "time") {
      return absl::UnimplementedError(
          absl::StrCat("a new ", ns.type, " namespace for a container is not supported"));
    }
    if (ns.type != "mount" && ns.type != "cgroup") flags |= static_cast<uint64_t>(*flag);
  }
  return flags;
}

// The PID namespace that the child is to be born in, opened; invalid: the caller's own or a new
// one.
StatusOr<UniqueFd> PidNamespaceToJoin(const CreateRequest& request) {
  if (auto given = request.join_namespaces.find("pid"); given != request.join_namespaces.end()) {
    const int copy = fcntl(given->second, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) return SyscallError("duplicate descriptor", "pid namespace");
    return UniqueFd(copy);
  }
  for (const spec::Namespace& ns : request.spec->linux_.namespaces) {
    if (ns.type == "pid" && !ns.path.empty()) return OpenAt(AT_FDCWD, ns.path, O_RDONLY);
  }
  return UniqueFd();
}

// setns around clone needs no process between: pid and pidfd come straight from clone3, and the way
// back, to the caller's own namespace, is one that the kernel always grants.
StatusOr<ClonedProcess> CloneInPidNamespace(int target, const CloneRequest& clone) {
  ASSIGN_OR_RETURN(UniqueFd own, OwnNamespace("pid"));
  RETURN_IF_ERROR(JoinNamespace(target, CLONE_NEWPID, "pid namespace"));
  StatusOr<ClonedProcess> child = Clone(clone);
  if (child.ok() && child->pid == 0) return child;
  const Status back = JoinNamespace(own.get(), CLONE_NEWPID, "own pid namespace");
  // ENOMEM is what clone says when the namespace's first process has exited.
  if (ErrnoOf(child.status()) == ENOMEM) {
    return Annotate(child.status(), "join a pid namespace whose init may have exited");
  }
  if (!back.ok() && child.ok()) (void)SignalPidFd(child->pidfd.get(), SIGKILL);
  if (!back.ok()) return back;
  return child;
}

StatusOr<ClonedProcess> CloneInit(const CreateRequest& request) {
  ASSIGN_OR_RETURN(const uint64_t flags, BirthFlags(request));
  ASSIGN_OR_RETURN_CONTEXT(UniqueFd pid_namespace, PidNamespaceToJoin(request), "pid namespace");
  const CloneRequest clone{.flags = flags, .cgroup_fd = request.cgroup_fd};
  if (!pid_namespace.valid()) return Clone(clone);
  return CloneInPidNamespace(pid_namespace.get(), clone);
}

}  // namespace

StatusOr<Creation> Creation::Begin(const CreateRequest& request) {
  RETURN_IF_ERROR(CheckRequest(request));
  // Here, not in the child: in its PID namespace it could not tell its own child's number.
  ASSIGN_OR_RETURN(const IdMapNamespaces id_maps, MakeIdMapNamespaces(request.spec->mounts));
  ASSIGN_OR_RETURN(auto ends, SocketPair(SOCK_SEQPACKET));
  ASSIGN_OR_RETURN(ClonedProcess child, CloneInit(request));
  if (child.pid == 0) {
    ends.first.Reset();
    ContainerInit(request, id_maps, std::move(ends.second)).Run();
  }
  Creation creation;
  creation.pid_ = child.pid;
  creation.pidfd_ = std::move(child.pidfd);
  creation.handshake_ = std::move(ends.first);
  return creation;
}

Status Creation::Continue() { return SendHandshake(handshake_.get(), HandshakeKind::kContinue); }

Status Creation::Start() {
  started_ = true;
  return SendHandshake(handshake_.get(), HandshakeKind::kStart);
}

StatusOr<Creation::Step> Creation::OnReadable() {
  ASSIGN_OR_RETURN(HandshakeMessage message, ReceiveHandshake(handshake_.get(), /*block=*/false));
  switch (message.kind) {
    case HandshakeKind::kNothing:
      return Step::kPending;
    case HandshakeKind::kReady:
      return Step::kCreated;
    case HandshakeKind::kTerminal:
      if (!message.fds.empty()) terminal_ = std::move(message.fds.front());
      return Step::kPending;
    case HandshakeKind::kClosed:
      handshake_.Reset();
      if (started_) return Step::kRunning;
      return absl::InternalError("the container's init was killed before it was set up");
    case HandshakeKind::kError:
      handshake_.Reset();
      return message.error;
    default:
      return absl::InternalError("handshake: an unexpected message");
  }
}

}  // namespace gantry::runtime
