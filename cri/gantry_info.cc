#include <unistd.h>

#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {

grpc::Status GantryService::Info(grpc::ServerContext* context, const ::gantry::v1::InfoRequest*,
                                 ::gantry::v1::InfoResponse* response) {
  return Serve(node_.log, context, "Info", "", [&](const Rpc&) -> Status {
    response->set_version(GANTRY_VERSION);
    response->set_root(node_.config.root);
    response->set_state(node_.config.state);
    response->set_pid(getpid());
    response->set_started_at(node_.started_at_ns);
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
