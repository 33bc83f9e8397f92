#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {

grpc::Status RuntimeService::RuntimeConfig(grpc::ServerContext* context,
                                           const v1::RuntimeConfigRequest*,
                                           v1::RuntimeConfigResponse* response) {
  return Serve(node_.log, context, "RuntimeConfig", "", [&](const Rpc&) -> absl::Status {
    // CheckConfig lets no other driver through.
    response->mutable_linux()->set_cgroup_driver(v1::CGROUPFS);
    return absl::OkStatus();
  });
}

// The pod CIDR: the CNI plugins have their own way to it, so that there is nothing to keep.
grpc::Status RuntimeService::UpdateRuntimeConfig(grpc::ServerContext* context,
                                                 const v1::UpdateRuntimeConfigRequest* request,
                                                 v1::UpdateRuntimeConfigResponse*) {
  const std::string& cidr = request->runtime_config().network_config().pod_cidr();
  return Serve(node_.log, context, "UpdateRuntimeConfig", cidr,
               [](const Rpc&) -> absl::Status { return absl::OkStatus(); });
}

}  // namespace gantry::cri
