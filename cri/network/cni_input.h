// What a plugin is told: its configuration on standard input, and its environment. Pure functions.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "nlohmann/json_fwd.hpp"

#include "cri/network/cni.h"
#include "cri/network/conflist.h"
#include "cri/network/network_annotations.h"
#include "runtime/base/status.h"

namespace gantry::cri {

// kInvalidArgument for what cannot be said in CNI_ARGS or would change its meaning (";"), and for
// an id or interface name that is not a name.
Status CheckRequest(const PodNetworkRequest& request);

// IgnoreUnknown=1, K8S_POD_NAMESPACE, K8S_POD_NAME, K8S_POD_INFRA_CONTAINER_ID, K8S_POD_UID.
std::vector<std::pair<std::string, std::string>> CniArgs(const PodNetworkRequest& request);

// CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS, CNI_PATH.
std::vector<std::string> CniEnvironment(const PodNetworkRequest& request,
                                        const std::vector<std::string>& bin_dirs);

// CNI_PATH alone: what STATUS and GC are told.
std::vector<std::string> PluginPath(const std::vector<std::string>& bin_dirs);

// By the names of capabilities: portMappings, dns, cgroupPath, io.kubernetes.cri.pod-annotations,
// and by annotation (network_annotations.h) bandwidth, ips, mac, aliases, ipRanges; what is empty
// is left out.
nlohmann::json CapabilityArgs(const PodNetworkRequest& request, const NetworkAnnotations& asked);

// The plugin's object with name, cniVersion, those of `capability_args` that it asks for
// (runtimeConfig) and `prev_result` when not empty.
StatusOr<std::string> PluginInput(const CniConfig& config, const CniPlugin& plugin,
                                  const nlohmann::json& capability_args,
                                  const std::string& prev_result);

// For the verb GC: the attachments that are to stay.
StatusOr<std::string> GcInput(const CniConfig& config, const CniPlugin& plugin,
                              const std::vector<CniAttachment>& valid);

}  // namespace gantry::cri
