// What every RPC about one container begins with.
#pragma once

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"

#include "cri/node.h"

namespace gantry::cri {

// By id or a unique prefix. kNotFound when there is none that its creator has claimed,
// kInvalidArgument when several begin so.
inline StatusOr<std::shared_ptr<const Container>> FindContainer(const Node& node,
                                                                const std::string& id) {
  ASSIGN_OR_RETURN(auto container, node.containers.FindByPrefix(id));
  if (container == nullptr || !container->claimed)
    return absl::NotFoundError(absl::StrCat("container \"", id, "\" does not exist"));
  return container;
}

// kUnavailable when the pod's shim is gone.
inline StatusOr<std::shared_ptr<PodShim>> ShimOf(const Node& node, const Container& container) {
  const auto sandbox = node.sandboxes.Find(container.record.sandbox_id());
  if (sandbox == nullptr || sandbox->shim == nullptr)
    return absl::UnavailableError(
        absl::StrCat("container \"", container.id(), "\": the pod's shim is gone"));
  return sandbox->shim;
}

// kFailedPrecondition when it does not run.
inline Status NeedRunning(const Container& container) {
  if (container.state() == v1::CONTAINER_RUNNING) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "container \"", container.id(), "\" is not running (",
      v1::ContainerState_Name(static_cast<v1::ContainerState>(container.state())), ")"));
}

}  // namespace gantry::cri
