#include "cri/container_lookup.h"
#include "cri/rpc.h"
#include "cri/service.h"
#include "cri/usage.h"

namespace gantry::cri {

// In any state: one that does not run has no CPU and memory, but its writable layer.
grpc::Status RuntimeService::ContainerStats(grpc::ServerContext* context,
                                            const v1::ContainerStatsRequest* request,
                                            v1::ContainerStatsResponse* response) {
  const std::string& id = request->container_id();
  return Serve(node_.log, context, "ContainerStats", id, [&](const Rpc&) -> absl::Status {
    ASSIGN_OR_RETURN(const auto container, FindContainer(node_, id));
    AwaitLayers(&node_, {container});
    ASSIGN_OR_RETURN(*response->mutable_stats(), StatsOfContainer(&node_, *container));
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
