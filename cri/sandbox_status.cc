#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <nlohmann/json.hpp>

#include "cri/rpc.h"
#include "cri/sandbox_lookup.h"
#include "cri/service.h"

namespace gantry::cri {
namespace {

nlohmann::json ResourcesJson(const std::string& stored) {
  v1::LinuxContainerResources resources;
  if (stored.empty() || !resources.ParseFromString(stored)) return nullptr;
  return {{"cpuPeriod", resources.cpu_period()},
          {"cpuQuota", resources.cpu_quota()},
          {"cpuShares", resources.cpu_shares()},
          {"memoryLimitInBytes", resources.memory_limit_in_bytes()}};
}

std::string InfoJson(const Sandbox& sandbox) {
  const nlohmann::json info = {{"pid", sandbox.record.shim_pid()},
                               {"networkNamespace", sandbox.record.netns_path()},
                               {"runtimeHandler", sandbox.record.runtime_handler()},
                               {"hostname", sandbox.record.hostname()},
                               {"message", sandbox.record.message()},
                               {"cgroupParent", sandbox.record.cgroup_parent()},
                               {"overhead", ResourcesJson(sandbox.record.overhead())},
                               {"resources", ResourcesJson(sandbox.record.resources())}};
  return info.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

grpc::Status RuntimeService::PodSandboxStatus(grpc::ServerContext* context,
                                              const v1::PodSandboxStatusRequest* request,
                                              v1::PodSandboxStatusResponse* response) {
  const std::string& id = request->pod_sandbox_id();
  return Serve(node_.log, context, "PodSandboxStatus", id, [&](const Rpc&) -> absl::Status {
    ASSIGN_OR_RETURN(const auto sandbox, FindSandbox(node_, id));
    *response->mutable_status() = SandboxStatusMessage(*sandbox);
    response->set_timestamp(absl::ToUnixNanos(absl::Now()));
    for (const auto& container : node_.containers.List())
      if (container->claimed && container->record.sandbox_id() == sandbox->id())
        *response->add_containers_statuses() = ContainerStatusMessage(*container);
    if (request->verbose()) (*response->mutable_info())["info"] = InfoJson(*sandbox);
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
