#include "cri/rpc.h"
#include "cri/sandbox_teardown.h"
#include "cri/service.h"

namespace gantry::cri {

grpc::Status RuntimeService::StopPodSandbox(grpc::ServerContext* context,
                                            const v1::StopPodSandboxRequest* request,
                                            v1::StopPodSandboxResponse*) {
  const std::string& id = request->pod_sandbox_id();
  return Serve(node_.log, context, "StopPodSandbox", id, [&](const Rpc&) -> absl::Status {
    ASSIGN_OR_RETURN(const auto sandbox, node_.sandboxes.FindByPrefix(id));
    // Unknown is stopped: the kubelet asks again and again.
    return sandbox == nullptr ? absl::OkStatus() : StopSandbox(&node_, sandbox->id());
  });
}

}  // namespace gantry::cri
