#include "cri/network/cni_chain.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"

#include "cri/network/cni_echo.h"
#include "cri/network/cni_exec.h"
#include "cri/network/cni_input.h"
#include "cri/network/cni_result.h"
#include "runtime/base/json.h"

namespace gantry::cri {
namespace {

constexpr int kUnknownContainer = 3;  // CNI error code: nothing to clean up

nlohmann::json ArgsOf(const CniChain::PodPart& pod) {
  return ParseJson(pod.capability_args).value_or(nlohmann::json::object());
}

}  // namespace

StatusOr<std::string> CniChain::RunUnnamed(const CniPlugin& plugin, const std::string& command,
                                           const StatusOr<std::string>& input) const {
  PluginCall call;
  RETURN_IF_ERROR(input.status());
  ASSIGN_OR_RETURN(call.path, FindPlugin(plugin.type, *setting_.bin_dirs));
  call.input = *input;
  call.command = command;
  call.env = pod_.env;
  call.deadline = setting_.deadline;
  call.cancel_fd = setting_.cancel_fd;
  return RunPlugin(call);
}

StatusOr<std::string> CniChain::Run(const CniPlugin& plugin, const std::string& command,
                                    const StatusOr<std::string>& input) const {
  const absl::Time start = absl::Now();
  StatusOr<std::string> answer = RunUnnamed(plugin, command, input);
  if (setting_.log->Enabled(LogLevel::kDebug)) {
    setting_.log->Debug("CNI plugin ran", {{"network", config_.name},
                                           {"plugin", plugin.type},
                                           {"verb", command},
                                           {kPodField, pod_.id},
                                           {"took", absl::FormatDuration(absl::Now() - start)},
                                           {"error", std::string(answer.status().message())}});
  }
  if (answer.ok()) return answer;
  return Annotate(answer.status(), absl::StrCat("CNI network \"", config_.name, "\": plugin \"",
                                                plugin.type, "\" ", command));
}

StatusOr<std::string> CniChain::AddOne(const CniPlugin& plugin,
                                       const std::string& prev_result) const {
  const nlohmann::json args = ArgsOf(pod_);
  if (!prev_result.empty() && OnlyEchoes(plugin, args)) return prev_result;
  ASSIGN_OR_RETURN(const std::string answer,
                   Run(plugin, "ADD", PluginInput(config_, plugin, args, prev_result)));
  // Before the next plugin is given it, and before it is recorded.
  return WithCniVersion(answer, config_.version);
}

StatusOr<std::string> CniChain::Add() const {
  std::string result;
  for (const CniPlugin& plugin : config_.plugins) {
    StatusOr<std::string> next = AddOne(plugin, result);
    if (absl::IsDataLoss(next.status())) {
      // Nothing of the caller's is lost.
      return absl::InternalError(absl::StrCat("CNI network \"", config_.name, "\": plugin \"",
                                              plugin.type, "\" ADD: ", next.status().message()));
    }
    ASSIGN_OR_RETURN(result, std::move(next));
  }
  return result;
}

Status CniChain::Del(const std::string& result) const {
  const std::string prev_result = CniVersionAtLeast(config_.version, "0.4.0") ? result : "";
  const nlohmann::json args = ArgsOf(pod_);
  Status first;
  for (auto plugin = config_.plugins.rbegin(); plugin != config_.plugins.rend(); ++plugin) {
    // The first of a list is run at ADD whatever it is asked: nobody was before it.
    if (plugin != config_.plugins.rend() - 1 && OnlyEchoes(*plugin, args)) continue;
    const Status status =
        Run(*plugin, "DEL", PluginInput(config_, *plugin, args, prev_result)).status();
    if (status.ok() || CniErrorCode(status) == kUnknownContainer) continue;
    if (first.ok()) first = status;
  }
  return first;
}

Status CniChain::CheckStatus() const {
  for (const CniPlugin& plugin : config_.plugins) {
    const auto input = PluginInput(config_, plugin, nlohmann::json::object(), "");
    RETURN_IF_ERROR(Run(plugin, "STATUS", input).status());
  }
  return absl::OkStatus();
}

Status CniChain::CollectGarbage(const std::vector<CniAttachment>& valid) const {
  Status first;
  for (const CniPlugin& plugin : config_.plugins) {
    const Status status = Run(plugin, "GC", GcInput(config_, plugin, valid)).status();
    if (first.ok()) first = status;
  }
  return first;
}

}  // namespace gantry::cri
