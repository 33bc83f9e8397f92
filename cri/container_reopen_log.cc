#include "cri/container_lookup.h"
#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {

// The shim's pump has closed the old file and made the new one when this returns.
grpc::Status RuntimeService::ReopenContainerLog(grpc::ServerContext* context,
                                                const v1::ReopenContainerLogRequest* request,
                                                v1::ReopenContainerLogResponse*) {
  const std::string& id = request->container_id();
  return Serve(node_.log, context, "ReopenContainerLog", id, [&](const Rpc&) -> absl::Status {
    ASSIGN_OR_RETURN(const auto container, FindContainer(node_, id));
    RETURN_IF_ERROR(NeedRunning(*container));
    ASSIGN_OR_RETURN(const auto shim, ShimOf(node_, *container));
    shim::proto::Request message;
    message.mutable_reopen_log()->set_container_id(container->id());
    return shim->client->Call(message, {}, absl::Seconds(60)).status();
  });
}

}  // namespace gantry::cri
