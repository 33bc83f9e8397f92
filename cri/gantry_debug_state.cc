#define JSON_NO_IO
#include "nlohmann/json.hpp"

#include "cri/rpc.h"
#include "cri/service.h"
#include "runtime/base/json.h"

namespace gantry::cri {
namespace {

using nlohmann::json;

// Configurations are left out: environments and annotations hold secrets.
json SandboxJson(const Sandbox& sandbox) {
  const store::SandboxRecord& record = sandbox.record;
  return {{"id", record.id()},
          {"state", v1::PodSandboxState_Name(static_cast<v1::PodSandboxState>(record.state()))},
          {"createdAt", record.created_at_ns()},
          {"stopped", record.stopped()},
          {"claimed", sandbox.claimed},
          {"connected", sandbox.shim != nullptr},
          {"shimPid", record.shim_pid()},
          {"eventsAcknowledged", record.events_acknowledged()},
          {"netns", record.netns_path()},
          {"networkIntended", record.network_intended()},
          {"ips", std::vector<std::string>(record.ips().begin(), record.ips().end())},
          {"cgroupParent", record.cgroup_parent()},
          {"bootId", record.boot_id()},
          {"message", record.message()},
          {"died", sandbox.died}};
}

json ContainerJson(const Container& container) {
  const store::ContainerRecord& record = container.record;
  return {{"id", record.id()},
          {"sandbox", record.sandbox_id()},
          {"image", record.image_id()},
          {"state", v1::ContainerState_Name(static_cast<v1::ContainerState>(record.state()))},
          {"createdAt", record.created_at_ns()},
          {"startedAt", record.started_at_ns()},
          {"finishedAt", record.finished_at_ns()},
          {"exitCode", record.exit_code()},
          {"reason", record.reason()},
          {"message", record.message()},
          {"pid", record.pid()},
          {"claimed", container.claimed},
          {"starting", container.starting},
          {"removing", container.removing},
          {"stopSignalSent", container.stop_signal_sent},
          {"logPath", record.log_path()},
          {"logIncomplete", record.log_incomplete()}};
}

json ImagesJson(const images::ImageStore& store) {
  const images::ImageStore::Usage usage = store.DiskUsage();
  json ids = json::array();
  for (const auto& image : store.List()) ids.push_back(image->id);
  return {{"ids", std::move(ids)}, {"bytes", usage.bytes}, {"inodes", usage.inodes}};
}

}  // namespace

grpc::Status GantryService::DebugState(grpc::ServerContext* context,
                                       const ::gantry::v1::DebugStateRequest*,
                                       ::gantry::v1::DebugStateResponse* response) {
  return Serve(node_.log, context, "DebugState", "", [&](const Rpc&) -> Status {
    json sandboxes = json::array();
    for (const auto& sandbox : node_.sandboxes.List()) sandboxes.push_back(SandboxJson(*sandbox));
    json containers = json::array();
    for (const auto& container : node_.containers.List())
      containers.push_back(ContainerJson(*container));
    const json state = {{"sandboxes", std::move(sandboxes)},
                        {"containers", std::move(containers)},
                        {"images", ImagesJson(*node_.images)}};
    response->set_json(DumpJson(state, /*indented=*/true));
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
