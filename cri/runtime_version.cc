#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {

// Answers from constants: clients call it to see whether we are there, early in a start too.
grpc::Status RuntimeService::Version(grpc::ServerContext* context, const v1::VersionRequest*,
                                     v1::VersionResponse* response) {
  return Serve(node_.log, context, "Version", "", [&](const Rpc&) -> absl::Status {
    // Of the kubelet's runtime API: the kubelet refuses any other value.
    response->set_version("0.1.0");
    response->set_runtime_name("gantry");
    response->set_runtime_version(GANTRY_VERSION);
    response->set_runtime_api_version("v1");
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
