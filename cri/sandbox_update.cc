// UpdatePodSandboxResources: the kubelet has changed the pod's cgroup, and tells what holds now.
// The cgroup is the kubelet's: what it says is kept, and shown in the verbose status.
#include "absl/strings/str_cat.h"

#include "cri/persist.h"
#include "cri/rpc.h"
#include "cri/sandbox_lookup.h"
#include "cri/service.h"

namespace gantry::cri {

grpc::Status RuntimeService::UpdatePodSandboxResources(
    grpc::ServerContext* context, const v1::UpdatePodSandboxResourcesRequest* request,
    v1::UpdatePodSandboxResourcesResponse*) {
  const std::string& id = request->pod_sandbox_id();
  return Serve(node_.log, context, "UpdatePodSandboxResources", id,
               [&](const Rpc&) -> absl::Status {
                 ASSIGN_OR_RETURN(const auto sandbox, FindSandbox(node_, id));
                 if (!sandbox->ready())
                   return absl::FailedPreconditionError(
                       absl::StrCat("pod sandbox \"", id, "\" is not ready"));
                 node_.sandboxes.Update(sandbox->id(), [request](Sandbox& changed) {
                   changed.record.set_overhead(request->overhead().SerializeAsString());
                   changed.record.set_resources(request->resources().SerializeAsString());
                 });
                 return PersistSandbox(&node_, sandbox->id());
               });
}

}  // namespace gantry::cri
