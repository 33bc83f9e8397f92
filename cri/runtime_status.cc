#define JSON_NO_IO
#include <string>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "cri/rpc.h"
#include "cri/service.h"
#include "runtime/base/json.h"

namespace gantry::cri {
namespace {

void AddConditions(const absl::Status& network, v1::RuntimeStatus* status) {
  // Whoever reads this has been answered: the daemon serves once everything is restored.
  v1::RuntimeCondition* runtime_ready = status->add_conditions();
  runtime_ready->set_type("RuntimeReady");
  runtime_ready->set_status(true);

  v1::RuntimeCondition* network_ready = status->add_conditions();
  network_ready->set_type("NetworkReady");
  network_ready->set_status(network.ok());
  if (network.ok()) return;
  network_ready->set_reason("NetworkPluginNotReady");
  network_ready->set_message(std::string(network.message()));
}

// The kubelet looks the default handler up under the empty name.
void AddHandlers(const Node& node, v1::StatusResponse* response) {
  for (const char* name : {"", "gantry"}) {
    v1::RuntimeHandler* handler = response->add_runtime_handlers();
    handler->set_name(name);
    handler->mutable_features()->set_recursive_read_only_mounts(
        node.features.recursive_read_only_mounts);
    handler->mutable_features()->set_user_namespaces(node.features.user_namespaces);
  }
  response->mutable_features()->set_supplemental_groups_policy(true);
  response->mutable_features()->set_user_namespaces_host_network(node.features.user_namespaces);
}

// The keys are containerd's where it has one: node tools and conformance tests read them.
std::string ConfigJson(const Node& node) {
  const Config& config = node.config;
  const ConfInForce network = node.network->InForce();
  const nlohmann::json json = {
      {"rootDir", config.root},
      {"stateDir", config.state},
      {"listen", config.listen},
      {"logLevel", config.log_level},
      {"cgroupDriver", config.runtime.cgroup_driver},
      {"defaultRuntimeName", config.runtime.default_handler},
      {"shimCgroup", config.runtime.shim_cgroup},
      {"cdiSpecDirs", config.runtime.cdi_spec_dirs},
      {"cni",
       {{"confDir", config.network.conf_dir},
        {"binDirs", config.network.bin_dirs},
        {"network", network.config == nullptr ? "" : network.config->name},
        {"file", network.config == nullptr ? "" : network.file},
        {"problem", network.problem}}},
      {"registry", {{"configPath", config.image.registry_config_path}}},
      {"maxConcurrentLayers", config.image.max_concurrent_layers},
      {"layers",
       {{"form", config.image.layer_form},
        {"erofs", images::ErofsSupportName(node.snapshots->erofs_support())},
        {"reason", node.snapshots->erofs_reason()}}},
  };
  return DumpJson(json);
}

}  // namespace

grpc::Status RuntimeService::Status(grpc::ServerContext* context, const v1::StatusRequest* request,
                                    v1::StatusResponse* response) {
  return Serve(node_.log, context, "Status", "", [&](const Rpc&) -> absl::Status {
    const absl::Status network = Annotate(
        node_.network->Ready(), absl::StrCat("pod network of ", node_.config.network.conf_dir));
    AddConditions(network, response->mutable_status());
    AddHandlers(node_, response);
    if (!request->verbose()) return absl::OkStatus();
    (*response->mutable_info())["config"] = ConfigJson(node_);
    (*response->mutable_info())["cdiErrors"] = DumpJson(node_.devices->Errors());
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
