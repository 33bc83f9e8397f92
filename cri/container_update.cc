// UpdateContainerResources: all or nothing; what is zero stays as it is.
#include "absl/strings/str_cat.h"

#include "cri/container_lookup.h"
#include "cri/persist.h"
#include "cri/rpc.h"
#include "cri/service.h"
#include "cri/spec/container_spec.h"
#include "runtime/cgroup_limits.h"

namespace gantry::cri {
namespace {

Status Update(Node* node, const Container& container, const v1::LinuxContainerResources& wanted) {
  if (container.exited())
    return absl::FailedPreconditionError(
        absl::StrCat("container \"", container.id(), "\" has exited"));
  RETURN_IF_ERROR(CheckResources(wanted));
  v1::ContainerResources merged;
  merged.ParseFromString(container.record.resources());
  // Of a proto3 message MergeFrom takes over the scalars that are not zero, and the maps by key.
  v1::LinuxContainerResources given = wanted;
  if (given.hugepage_limits_size() > 0) merged.mutable_linux()->clear_hugepage_limits();
  merged.mutable_linux()->MergeFrom(given);
  RETURN_IF_ERROR_CONTEXT(runtime::UpdateCgroupLimits(container.cgroup, ResourcesOf(wanted)),
                          absl::StrCat("update container \"", container.id(), "\""));
  node->containers.Update(container.id(), [&merged](Container& c) {
    c.record.set_resources(merged.SerializeAsString());
  });
  return PersistContainer(node, container.id());
}

}  // namespace

grpc::Status RuntimeService::UpdateContainerResources(
    grpc::ServerContext* context, const v1::UpdateContainerResourcesRequest* request,
    v1::UpdateContainerResourcesResponse*) {
  const std::string& id = request->container_id();
  return Serve(node_.log, context, "UpdateContainerResources", id, [&](const Rpc&) -> absl::Status {
    ASSIGN_OR_RETURN(const auto container, FindContainer(node_, id));
    const auto lock = node_.stops.Lock(container->id());
    return Update(&node_, *container, request->linux());
  });
}

}  // namespace gantry::cri
