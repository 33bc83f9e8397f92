#include "cri/rpc.h"
#include "cri/sandbox_lookup.h"
#include "cri/service.h"
#include "cri/usage.h"

namespace gantry::cri {

// The kubelet calls it with an empty id at its start, and takes every answer but UNIMPLEMENTED for
// "here are statistics of pods": NOT_FOUND is right.
grpc::Status RuntimeService::PodSandboxStats(grpc::ServerContext* context,
                                             const v1::PodSandboxStatsRequest* request,
                                             v1::PodSandboxStatsResponse* response) {
  const std::string& id = request->pod_sandbox_id();
  return Serve(node_.log, context, "PodSandboxStats", id, [&](const Rpc&) -> absl::Status {
    ASSIGN_OR_RETURN(const auto sandbox, FindSandbox(node_, id));
    const Containers containers = RunningIn(node_, sandbox->id());
    AwaitLayers(&node_, containers);
    *response->mutable_stats() = StatsOfPod(&node_, *sandbox, containers);
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
