#include "cri/cadvisor_answer.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#define JSON_NO_IO
#include <nlohmann/json.hpp>

#include "runtime/base/json.h"

namespace gantry::cri {
namespace {

// "overlay" makes cAdvisor look for the writable layer in the folder "diff" below a container's
// root, where Snapshots has it.
CadvisorAnswer Info(const Node& node) {
  return {200, DumpJson({{"storage_driver", "overlay"},
                         {"storage_root", node.config.root},
                         {"storage_image", ""},
                         {"cgroup_driver", node.config.runtime.cgroup_driver}})};
}

template <typename Map>
nlohmann::json Object(const Map& map) {
  nlohmann::json object = nlohmann::json::object();
  for (const auto& [key, value] : map) object[key] = value;
  return object;
}

CadvisorAnswer Describe(const Node& node, const std::string& id) {
  const auto container = node.containers.Find(id);
  const auto sandbox =
      container == nullptr ? nullptr : node.sandboxes.Find(container->record.sandbox_id());
  if (sandbox == nullptr || !container->claimed)
    return {404, absl::StrCat("can't find the container with id ", id, "\n")};
  std::string root = node.snapshots->UpperDirectory(id);
  root.resize(root.rfind('/'));
  nlohmann::json ips = nlohmann::json::array();
  for (const std::string& ip : sandbox->record.ips()) ips.push_back(ip);
  return {200,
          DumpJson({{"name", container->config->metadata().name()},
                    {"pid", container->exited() ? 0 : container->record.pid()},
                    {"image", container->record.image_name()},
                    {"image_ref", container->record.image_ref()},
                    {"created_time", container->record.created_at_ns()},
                    {"labels", Object(container->config->labels())},
                    {"annotations", Object(container->config->annotations())},
                    {"log_path", container->record.log_path()},
                    {"root", root},
                    {"sandbox", sandbox->id()},
                    {"ip_address", sandbox->record.ips().empty() ? "" : sandbox->record.ips(0)},
                    {"ip_addresses", ips}})};
}

}  // namespace

CadvisorAnswer AnswerCadvisor(const Node& node, absl::string_view target) {
  if (target == "/info") return Info(node);
  if (absl::ConsumePrefix(&target, "/containers/")) return Describe(node, std::string(target));
  return {404, "only /info and /containers/ID are here\n"};
}

}  // namespace gantry::cri
