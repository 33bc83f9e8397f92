#include "cri/network/cni_input.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "nlohmann/json.hpp"

#include "runtime/base/json.h"

namespace gantry::cri {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxInterfaceName = 15;  // IFNAMSIZ less the end

bool IsName(absl::string_view text) {
  return !text.empty() && absl::ascii_isalnum(static_cast<unsigned char>(text[0])) &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' ||
                  c == '-';
         });
}

Json PortMappings(const std::vector<PortMapping>& mappings) {
  Json list = Json::array();
  for (const PortMapping& mapping : mappings) {
    if (mapping.host_port <= 0) continue;
    Json entry = {{"hostPort", mapping.host_port},
                  {"containerPort", mapping.container_port},
                  {"protocol", absl::AsciiStrToLower(mapping.protocol)}};
    if (!mapping.host_ip.empty()) entry["hostIP"] = mapping.host_ip;
    list.push_back(std::move(entry));
  }
  return list;
}

Json Dns(const PodDns& dns) {
  Json object = Json::object();
  if (!dns.servers.empty()) object["servers"] = dns.servers;
  if (!dns.searches.empty()) object["searches"] = dns.searches;
  if (!dns.options.empty()) object["options"] = dns.options;
  return object;
}

Json Limits(const Bandwidth& bandwidth) {
  // Rates and bursts are in bits; the plugin wants a burst with each rate, below 2^32 bytes.
  constexpr uint64_t kBurst = 0xffffffff;
  Json object = Json::object();
  if (bandwidth.ingress > 0) {
    object["ingressRate"] = bandwidth.ingress;
    object["ingressBurst"] = kBurst;
  }
  if (bandwidth.egress > 0) {
    object["egressRate"] = bandwidth.egress;
    object["egressBurst"] = kBurst;
  }
  return object;
}

}  // namespace

Status CheckRequest(const PodNetworkRequest& request) {
  if (!IsName(request.id)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", request.id, "\" is no id for CNI"));
  }
  if (!IsName(request.ifname) || request.ifname.size() > kMaxInterfaceName) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", request.ifname, "\" is no interface name"));
  }
  for (const auto& [key, value] : CniArgs(request)) {
    if (value.find_first_of(absl::string_view(";\n\0", 3).data(), 0, 3) != std::string::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat(key, " \"", absl::CEscape(value), "\" cannot be given to CNI"));
    }
  }
  return absl::OkStatus();
}

std::vector<std::pair<std::string, std::string>> CniArgs(const PodNetworkRequest& request) {
  return {{"IgnoreUnknown", "1"},
          {"K8S_POD_NAMESPACE", request.namespace_name},
          {"K8S_POD_NAME", request.name},
          {"K8S_POD_INFRA_CONTAINER_ID", request.id},
          {"K8S_POD_UID", request.uid}};
}

std::vector<std::string> CniEnvironment(const PodNetworkRequest& request,
                                        const std::vector<std::string>& bin_dirs) {
  return {absl::StrCat("CNI_CONTAINERID=", request.id),
          absl::StrCat("CNI_NETNS=", request.netns_path),
          absl::StrCat("CNI_IFNAME=", request.ifname),
          absl::StrCat("CNI_ARGS=", absl::StrJoin(CniArgs(request), ";", absl::PairFormatter("="))),
          absl::StrCat("CNI_PATH=", absl::StrJoin(bin_dirs, ":"))};
}

std::vector<std::string> PluginPath(const std::vector<std::string>& bin_dirs) {
  return {absl::StrCat("CNI_PATH=", absl::StrJoin(bin_dirs, ":"))};
}

Json CapabilityArgs(const PodNetworkRequest& request, const NetworkAnnotations& asked) {
  Json args = Json::object();
  Json mappings = PortMappings(request.port_mappings);
  if (!mappings.empty()) args["portMappings"] = std::move(mappings);
  Json dns = Dns(request.dns);
  if (!dns.empty()) args["dns"] = std::move(dns);
  if (!request.cgroup_path.empty()) args["cgroupPath"] = request.cgroup_path;
  if (!request.annotations.empty()) {
    args["io.kubernetes.cri.pod-annotations"] = request.annotations;
  }
  Json limits = Limits(asked.bandwidth);
  if (!limits.empty()) args["bandwidth"] = std::move(limits);
  if (!asked.ips.empty()) args["ips"] = asked.ips;
  if (!asked.mac.empty()) args["mac"] = asked.mac;
  if (!asked.aliases.empty()) args["aliases"] = asked.aliases;
  StatusOr<Json> ranges = ParseJson(asked.ip_ranges);
  if (ranges.ok()) args["ipRanges"] = *std::move(ranges);
  return args;
}

StatusOr<std::string> PluginInput(const CniConfig& config, const CniPlugin& plugin,
                                  const Json& capability_args, const std::string& prev_result) {
  ASSIGN_OR_RETURN(Json input, ParseJson(plugin.json));
  input["name"] = config.name;
  input["cniVersion"] = config.version;
  Json runtime_config = Json::object();
  for (const std::string& capability : plugin.capabilities) {
    const auto found = capability_args.find(capability);
    if (found != capability_args.end()) runtime_config[capability] = *found;
  }
  if (!runtime_config.empty()) input["runtimeConfig"] = std::move(runtime_config);
  if (!prev_result.empty()) {
    ASSIGN_OR_RETURN(input["prevResult"], ParseJson(prev_result));
  }
  return DumpJson(input);
}

StatusOr<std::string> GcInput(const CniConfig& config, const CniPlugin& plugin,
                              const std::vector<CniAttachment>& valid) {
  ASSIGN_OR_RETURN(Json input, ParseJson(plugin.json));
  input["name"] = config.name;
  input["cniVersion"] = config.version;
  Json list = Json::array();
  for (const CniAttachment& attachment : valid) {
    list.push_back({{"containerID", attachment.id}, {"ifname", attachment.ifname}});
  }
  // The second is what libcni 1.2 named it by mistake: plugins of that time read it.
  input["cni.dev/attachments"] = list;
  input["cni.dev/valid-attachments"] = std::move(list);
  return DumpJson(input);
}

}  // namespace gantry::cri
