#include <nlohmann/json.hpp>

#include "cri/container_lookup.h"
#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {
namespace {

std::string InfoJson(const Container& container) {
  const store::ContainerRecord& record = container.record;
  nlohmann::json info = {
      {"sandboxID", record.sandbox_id()},
      {"pid", record.pid()},
      {"cgroup", record.cgroup_path()},
      {"stdin", container.config->stdin()},
      {"layers", std::vector<std::string>(record.layers().begin(), record.layers().end())}};
  info["process"] = nlohmann::json::parse(record.process(), nullptr, false);
  return info.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

grpc::Status RuntimeService::ContainerStatus(grpc::ServerContext* context,
                                             const v1::ContainerStatusRequest* request,
                                             v1::ContainerStatusResponse* response) {
  const std::string& id = request->container_id();
  return Serve(node_.log, context, "ContainerStatus", id, [&](const Rpc&) -> absl::Status {
    ASSIGN_OR_RETURN(const auto container, FindContainer(node_, id));
    *response->mutable_status() = ContainerStatusMessage(*container);
    if (request->verbose()) (*response->mutable_info())["info"] = InfoJson(*container);
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
