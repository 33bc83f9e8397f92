#include "absl/strings/str_cat.h"

#include "cri/container_teardown.h"
#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {

grpc::Status RuntimeService::RemoveContainer(grpc::ServerContext* context,
                                             const v1::RemoveContainerRequest* request,
                                             v1::RemoveContainerResponse*) {
  const std::string& id = request->container_id();
  return Serve(node_.log, context, "RemoveContainer", id, [&](const Rpc&) -> absl::Status {
    ASSIGN_OR_RETURN(const auto found, node_.containers.FindByPrefix(id));
    if (found == nullptr) return absl::OkStatus();
    const auto lock = node_.stops.Lock(found->id());
    const auto container = node_.containers.Find(found->id());
    if (container != nullptr && container->starting)
      return absl::FailedPreconditionError(
          absl::StrCat("remove container \"", id, "\": it is being started"));
    return RemoveContainerObject(&node_, found->id());
  });
}

}  // namespace gantry::cri
