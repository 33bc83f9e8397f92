#include "cri/sandbox_teardown.h"

#include <sys/mount.h>

#include <cerrno>
#include <filesystem>

#include "absl/strings/str_cat.h"

#include "cri/container_events.h"
#include "cri/container_teardown.h"
#include "cri/patience.h"
#include "cri/persist.h"
#include "cri/sandbox_network.h"

namespace gantry::cri {
namespace {

constexpr absl::Duration kShimEnds = absl::Seconds(2);  // from its answer to its end

std::vector<std::shared_ptr<const Container>> ContainersOf(const Node& node,
                                                           const std::string& sandbox_id) {
  std::vector<std::shared_ptr<const Container>> found;
  for (const auto& container : node.containers.List())
    if (container->record.sandbox_id() == sandbox_id) found.push_back(container);
  return found;
}

// All at once, then a wait for each.
Status KillContainers(Node* node, const std::string& id) {
  const auto containers = ContainersOf(*node, id);
  for (const auto& container : containers)
    if (!container->exited()) KillContainer(node, *container);
  const Deadline deadline = Deadline::After(kKillDeadline);
  for (const auto& container : containers) {
    const bool ended = node->containers.WaitUntil(
        container->id(), [](const Container& c) { return c.exited(); }, deadline, {});
    if (!ended)
      return absl::DeadlineExceededError(
          absl::StrCat("container \"", container->id(), "\" ",
                       container->claimed ? "does not end after SIGKILL" : "is still being made"));
  }
  return absl::OkStatus();
}

void EndShim(Node* node, const Sandbox& sandbox) {
  if (sandbox.shim == nullptr) return;
  // First of all, so that nobody takes the end of its connection for a death.
  node->sandboxes.Update(sandbox.id(), [](Sandbox& changed) { changed.shim = nullptr; });
  shim::proto::Request request;
  request.mutable_shutdown();
  const auto reply = sandbox.shim->client->Call(request, {}, kShimAnswer);
  if (!reply.ok())
    node->log.Warning(
        "the shim did not end by itself, ignoring: it is killed",
        {{kPodField, sandbox.id()}, {"error", std::string(reply.status().message())}});
  sandbox.shim->client->Close();
  sandbox.shim->End(reply.ok() ? kShimEnds : absl::ZeroDuration());
}

Status RemoveMounts(const Node& node, const std::string& id) {
  const std::string shm = node.PodDirectory(id) + "/shm";
  if (umount2(shm.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno != EINVAL && errno != ENOENT)
    return SyscallError("umount", shm);
  return absl::OkStatus();
}

// The kubelet cannot end its pod while a cgroup of ours is left below its own.
Status RemoveCgroups(Node* node, const std::string& id, const store::SandboxRecord& record) {
  for (const auto& container : ContainersOf(*node, id))
    RETURN_IF_ERROR(RemoveCgroup(container->cgroup, kCgroupPatience));
  for (const std::string& path : record.cgroup_dirs()) {
    ASSIGN_OR_RETURN(const CgroupPaths paths, CgroupPathsFor(node->features.cgroups, path));
    RETURN_IF_ERROR(RemoveCgroup(paths, kCgroupPatience));
  }
  return absl::OkStatus();
}

Status StopLocked(Node* node, const std::string& id) {
  // From here on no container can be created in it; status and lists go on answering.
  const auto sandbox = node->sandboxes.Update(
      id, [](Sandbox& changed) { changed.record.set_state(v1::SANDBOX_NOTREADY); });
  if (sandbox == nullptr || sandbox->record.stopped()) return absl::OkStatus();
  node->streaming->EndSessions(id);
  node->statistics->Forget(id);  // it holds the network namespace
  const std::string context = absl::StrCat("stop pod sandbox \"", id, "\"");
  RETURN_IF_ERROR_CONTEXT(KillContainers(node, id), context);
  EndShim(node, *sandbox);
  store::SandboxRecord record = sandbox->record;
  // What the network still owes does not keep the rest from going.
  const Status left_network = LeaveNetwork(node, *sandbox->config, &record);
  node->sandboxes.Update(id, [&record](Sandbox& changed) {
    changed.record.set_network_tries(record.network_tries());
    changed.record.set_network_intended(record.network_intended());
  });
  RETURN_IF_ERROR_CONTEXT(RemoveMounts(*node, id), context);
  RETURN_IF_ERROR_CONTEXT(RemoveCgroups(node, id, record), context);
  if (!left_network.ok()) (void)PersistSandbox(node, id);
  RETURN_IF_ERROR_CONTEXT(left_network, context);
  record.set_stopped(true);
  const auto stopped =
      node->sandboxes.Update(id, [&record](Sandbox& changed) { changed.record = record; });
  RETURN_IF_ERROR_CONTEXT(PersistSandbox(node, id), context);
  if (stopped != nullptr) PublishSandboxEvent(node, v1::CONTAINER_STOPPED_EVENT, *stopped);
  return absl::OkStatus();
}

}  // namespace

Status StopSandbox(Node* node, const std::string& id) {
  const auto lock = node->stops.Lock(id);
  return StopLocked(node, id);
}

Status RemoveSandbox(Node* node, const std::string& id) {
  const auto lock = node->stops.Lock(id);
  RETURN_IF_ERROR(StopLocked(node, id));
  const auto sandbox = node->sandboxes.Find(id);
  if (sandbox == nullptr) return absl::OkStatus();
  for (const auto& container : ContainersOf(*node, id))
    RETURN_IF_ERROR(RemoveContainerObject(node, container->id()));
  std::error_code error;
  std::filesystem::remove_all(node->PodDirectory(id), error);
  if (error)
    return absl::InternalError(absl::StrCat("remove pod sandbox \"", id, "\": ", error.message()));
  RETURN_IF_ERROR(sandbox->record.network_intended() ? node->network_debts->Keep(id)
                                                     : ForgetSandbox(node, id));
  node->sandboxes.Erase(id);
  PublishSandboxEvent(node, v1::CONTAINER_DELETED_EVENT, *sandbox);
  node->names.Release("pod/" + SandboxName(sandbox->config->metadata()), id);
  return absl::OkStatus();
}

}  // namespace gantry::cri
