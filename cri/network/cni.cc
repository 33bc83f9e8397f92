#include "cri/network/cni.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"

#include "cri/network/cni_cache.h"
#include "cri/network/cni_exec.h"
#include "cri/network/cni_input.h"
#include "cri/network/cni_result.h"
#include "cri/network/netns.h"

namespace gantry::cri {
namespace {

constexpr int kUnknownContainer = 3;  // CNI error code: nothing to clean up

// The first error leads: it is why; code and payloads are its.
Status AlsoFailed(const Status& add, const Status& del) {
  Status both(add.code(),
              absl::StrCat(add.message(), " (and its DEL failed: ", del.message(), ")"));
  add.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& value) { both.SetPayload(url, value); });
  return both;
}

}  // namespace

struct Network::Chain {
  const NetworkOptions* options;
  const PodNetworkRequest* request;
  CniConfig config;
  std::vector<std::string> env;
  nlohmann::json capability_args;
  absl::Time deadline;

  // One plugin's answer to one verb; errors name the plugin and the verb.
  StatusOr<std::string> Run(const CniPlugin& plugin, const std::string& command,
                            const std::string& prev_result) const {
    StatusOr<std::string> answer = RunUnnamed(plugin, command, prev_result);
    if (answer.ok()) return answer;
    return Annotate(answer.status(), absl::StrCat("CNI network \"", config.name, "\": plugin \"",
                                                  plugin.type, "\" ", command));
  }

  StatusOr<std::string> RunUnnamed(const CniPlugin& plugin, const std::string& command,
                                   const std::string& prev_result) const {
    PluginCall call;
    ASSIGN_OR_RETURN(call.path, FindPlugin(plugin.type, options->bin_dirs));
    ASSIGN_OR_RETURN(call.input, PluginInput(config, plugin, capability_args, prev_result));
    call.command = command;
    call.env = env;
    call.deadline = deadline;
    return RunPlugin(call);
  }

  // The result of the last plugin.
  StatusOr<std::string> AddAll() const {
    std::string result;
    for (const CniPlugin& plugin : config.plugins) {
      ASSIGN_OR_RETURN(result, Run(plugin, "ADD", result));
      // Before the next plugin is given it, and before it is recorded.
      const StatusOr<std::vector<std::string>> ips = PodAddresses(result);
      const bool last = &plugin == &config.plugins.back();
      if (!ips.ok() && (last || absl::IsDataLoss(ips.status()))) {
        return Annotate(ips.status(), absl::StrCat("CNI network \"", config.name, "\": plugin \"",
                                                   plugin.type, "\" ADD"));
      }
    }
    return result;
  }

  // Past errors: what the other plugins hold is freed. Each verb is idempotent, so all can be
  // repeated.
  Status DelAll(const std::string& result) const {
    const bool takes_result = CniVersionAtLeast(config.version, "0.4.0");
    Status first;
    for (auto plugin = config.plugins.rbegin(); plugin != config.plugins.rend(); ++plugin) {
      const Status status = Run(*plugin, "DEL", takes_result ? result : "").status();
      if (status.ok() || CniErrorCode(status) == kUnknownContainer) continue;
      if (first.ok()) first = status;
    }
    return first;
  }
};

Network::Network(NetworkOptions options)
    : options_(std::move(options)), configs_(options_.conf_dir, options_.empty_grace) {}

Status Network::Ready() {
  ASSIGN_OR_RETURN(const std::shared_ptr<const CniConfig> config, configs_.Current());
  for (const CniPlugin& plugin : config->plugins) {
    const Status found = FindPlugin(plugin.type, options_.bin_dirs).status();
    if (!found.ok()) {
      return absl::UnavailableError(
          absl::StrCat("CNI network \"", config->name, "\": ", found.message()));
    }
  }
  return absl::OkStatus();
}

StatusOr<std::string> Network::Config() {
  ASSIGN_OR_RETURN(const std::shared_ptr<const CniConfig> config, configs_.Current());
  return config->bytes;
}

StatusOr<Network::Chain> Network::MakeChain(const PodNetworkRequest& request,
                                            const std::string& config,
                                            absl::Duration timeout) const {
  RETURN_IF_ERROR(CheckRequest(request));
  Chain chain;
  chain.options = &options_;
  chain.request = &request;
  ASSIGN_OR_RETURN_CONTEXT(chain.config, ParseCniConfig(config), "recorded CNI configuration");
  chain.env = CniEnvironment(request, options_.bin_dirs);
  chain.capability_args = CapabilityArgs(request);
  chain.deadline = absl::Now() + timeout;
  return chain;
}

StatusOr<PodNetworkResult> Network::Add(const PodNetworkRequest& request,
                                        const std::string& config) {
  ASSIGN_OR_RETURN(const Chain chain, MakeChain(request, config, options_.add_timeout));
  StatusOr<std::string> result = chain.AddAll();
  if (!result.ok()) {
    const Status undone = Del(request, config, /*result=*/"");
    if (undone.ok()) return result.status();
    return AlsoFailed(result.status(), undone);
  }
  PodNetworkResult added;
  ASSIGN_OR_RETURN(added.ips, PodAddresses(*result));
  added.config_bytes = config;
  added.result_bytes = *std::move(result);
  // For others only: the pod does not depend on it.
  if (!options_.cache_dir.empty()) {
    (void)WriteCniCache(options_.cache_dir, chain.config, request, added.result_bytes);
  }
  return added;
}

Status Network::Del(const PodNetworkRequest& request, const std::string& config,
                    const std::string& result) {
  PodNetworkRequest now = request;
  // After a reboot, or when somebody has removed it: plugins then free what is not in the
  // namespace.
  if (!IsPinnedNetns(now.netns_path)) now.netns_path.clear();
  ASSIGN_OR_RETURN(const Chain chain, MakeChain(now, config, options_.del_timeout));
  RETURN_IF_ERROR(chain.DelAll(result));
  if (options_.cache_dir.empty()) return absl::OkStatus();
  return RemoveCniCache(options_.cache_dir, chain.config, request);
}

}  // namespace gantry::cri
