#include "cri/rpc.h"
#include "cri/sandbox_teardown.h"
#include "cri/service.h"

namespace gantry::cri {

grpc::Status RuntimeService::RemovePodSandbox(grpc::ServerContext* context,
                                              const v1::RemovePodSandboxRequest* request,
                                              v1::RemovePodSandboxResponse*) {
  const std::string& id = request->pod_sandbox_id();
  return Serve(node_.log, context, "RemovePodSandbox", id, [&](const Rpc&) -> absl::Status {
    ASSIGN_OR_RETURN(const auto sandbox, node_.sandboxes.FindByPrefix(id));
    return sandbox == nullptr ? absl::OkStatus() : RemoveSandbox(&node_, sandbox->id());
  });
}

}  // namespace gantry::cri
