#include "cri/container_teardown.h"

#include <csignal>
#include <filesystem>

#include "absl/strings/str_cat.h"

#include "cri/container_events.h"
#include "cri/container_lookup.h"
#include "cri/patience.h"
#include "cri/persist.h"

namespace gantry::cri {
namespace {

// The shim lets go of pipes, log and pidfd; it ends what is left.
Status ForgetInShim(const Node& node, const Container& container) {
  const auto shim = ShimOf(node, container);
  if (!shim.ok()) return absl::OkStatus();
  shim::proto::Request request;
  request.mutable_delete_container()->set_container_id(container.id());
  return (*shim)->client->Call(request, {}, kKillDeadline).status();
}

Status DeleteFiles(Node* node, const Container& container) {
  RETURN_IF_ERROR(RemoveCgroup(container.cgroup, kCgroupPatience));
  RETURN_IF_ERROR(node->snapshots->Remove(container.id()));
  std::error_code error;
  std::filesystem::remove_all(node->ContainerDirectory(container.id()), error);
  if (error) return absl::InternalError(absl::StrCat("delete its folder: ", error.message()));
  return absl::OkStatus();
}

}  // namespace

void KillContainer(Node* node, const Container& container) {
  node->containers.Update(container.id(), [](Container& c) { c.killing = true; });
  if (const auto shim = ShimOf(*node, container); shim.ok()) {
    shim::proto::Request request;
    request.mutable_signal_container()->set_container_id(container.id());
    request.mutable_signal_container()->set_signal(SIGKILL);
    request.mutable_signal_container()->set_all(true);
    const auto reply = (*shim)->client->Call(request, {}, kShimAnswer);
    if (reply.ok()) return;
    node->log.Warning(
        "the shim does not kill, ignoring: the cgroup is killed",
        {{kContainerField, container.id()}, {"error", std::string(reply.status().message())}});
  }
  (void)KillCgroup(container.cgroup);
}

bool KillAndAwait(Node* node, const Container& container) {
  KillContainer(node, container);
  return node->containers.WaitUntil(container.id(), [](const Container& c) { return c.exited(); },
                                    Deadline::After(kKillDeadline), {});
}

Status RemoveContainerObject(Node* node, const std::string& id) {
  const auto container = node->containers.Update(id, [](Container& c) { c.removing = true; });
  if (container == nullptr) return absl::OkStatus();
  const std::string context = absl::StrCat("remove container \"", id, "\"");
  if (container->record.state() == v1::CONTAINER_RUNNING && !KillAndAwait(node, *container))
    return absl::DeadlineExceededError(context + ": it does not end after SIGKILL");
  RETURN_IF_ERROR_CONTEXT(ForgetInShim(*node, *container), context);
  RETURN_IF_ERROR_CONTEXT(DeleteFiles(node, *container), context);
  RETURN_IF_ERROR_CONTEXT(ForgetContainer(node, id), context);
  node->images->ReleaseLayers(id);
  const auto sandbox = node->sandboxes.Find(container->record.sandbox_id());
  node->containers.Erase(id);
  node->statistics->Forget(id);
  node->streaming->EndSessions(id);
  PublishContainerEvent(node, v1::CONTAINER_DELETED_EVENT, *container);
  if (sandbox != nullptr)
    node->names.Release(
        "container/" + ContainerName(container->config->metadata(), sandbox->config->metadata()),
        id);
  return absl::OkStatus();
}

}  // namespace gantry::cri
