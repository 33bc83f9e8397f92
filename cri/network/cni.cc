#include "cri/network/cni.h"

#include <sys/eventfd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "cri/network/cni_cache.h"
#include "cri/network/cni_chain.h"
#include "cri/network/cni_exec.h"
#include "cri/network/cni_input.h"
#include "cri/network/netns.h"
#include "cri/network/network_annotations.h"
#include "runtime/base/json.h"

namespace gantry::cri {

Network::Network(NetworkOptions options, Logger log)
    : options_(std::move(options)),
      log_(std::move(log)),
      cancelled_(eventfd(0, EFD_CLOEXEC)),
      configs_(options_.conf_dir, options_.conf, log_),
      health_(
          &configs_, options_.health, [this](const CniConfig& config) { return AskStatus(config); },
          [this](const CniConfig& config) { CollectGarbage(config); }) {}

Network::~Network() { Cancel(); }

void Network::Cancel() { (void)eventfd_write(cancelled_.get(), 1); }

Status Network::Ready() const {
  ASSIGN_OR_RETURN(const std::shared_ptr<const CniConfig> config, configs_.Current());
  const std::string name = absl::StrCat("CNI network \"", config->name, "\": ");
  for (const CniPlugin& plugin : config->plugins) {
    const Status found = FindPlugin(plugin.type, options_.bin_dirs).status();
    if (!found.ok()) return absl::UnavailableError(absl::StrCat(name, found.message()));
  }
  return health_.Of(*config);
}

StatusOr<std::string> Network::Config() const {
  ASSIGN_OR_RETURN(const std::shared_ptr<const CniConfig> config, configs_.Current());
  return config->bytes;
}

Status Network::Check(const PodNetworkRequest& request) const {
  RETURN_IF_ERROR(CheckRequest(request));
  return ReadNetworkAnnotations(request.annotations, options_.allowed_annotations).status();
}

StatusOr<CniChain> Network::PodChain(const PodNetworkRequest& request, const std::string& config,
                                     const Deadline& deadline) const {
  RETURN_IF_ERROR(CheckRequest(request));
  ASSIGN_OR_RETURN_CONTEXT(CniConfig parsed, ParseCniConfig(config), "recorded CNI configuration");
  // Add has checked them; a DEL is run with what can be read, whatever is allowed by now.
  const auto asked = ReadNetworkAnnotations(request.annotations, options_.allowed_annotations);
  CniChain::PodPart pod;
  pod.id = request.id;
  pod.env = CniEnvironment(request, options_.bin_dirs);
  const nlohmann::json args = CapabilityArgs(request, asked.value_or(NetworkAnnotations()));
  if (!args.empty()) pod.capability_args = DumpJson(args);
  return CniChain(std::move(parsed), {&options_.bin_dirs, &log_, deadline}, std::move(pod));
}

StatusOr<PodNetworkResult> Network::Add(const PodNetworkRequest& request,
                                        const std::string& config) {
  RETURN_IF_ERROR(Check(request));
  const absl::ReaderMutexLock lock(&verbs_);
  ASSIGN_OR_RETURN(const CniChain chain,
                   PodChain(request, config, Deadline::After(options_.add_timeout)));
  PodNetworkResult added;
  ASSIGN_OR_RETURN(added.result_bytes, chain.Add());
  ASSIGN_OR_RETURN_CONTEXT(added.ips, PodAddresses(added.result_bytes, options_.ip_preference),
                           absl::StrCat("CNI network \"", chain.config().name, "\""));
  added.config_bytes = config;
  // For others only: the pod does not depend on it.
  if (!options_.cache_dir.empty()) {
    const Status cached = WriteCniCache(options_.cache_dir, chain.config(), request,
                                        {added.result_bytes, chain.pod().capability_args});
    if (!cached.ok()) {
      log_.Warning("the CNI result cache could not be written, ignoring",
                   {{kPodField, request.id}, {"error", std::string(cached.message())}});
    }
  }
  return added;
}

Status Network::Del(const PodNetworkRequest& request, const std::string& config,
                    const std::string& result) {
  const absl::ReaderMutexLock lock(&verbs_);
  PodNetworkRequest now = request;
  // After a reboot, or when somebody has removed it: plugins then free what is not in the
  // namespace.
  if (!IsPinnedNetns(now.netns_path)) now.netns_path.clear();
  ASSIGN_OR_RETURN(CniChain chain, PodChain(now, config, Deadline::After(options_.del_timeout)));
  chain.CancelBy(cancelled_.get());
  RETURN_IF_ERROR(chain.Del(result));
  if (options_.cache_dir.empty()) return absl::OkStatus();
  return RemoveCniCache(options_.cache_dir, chain.config(), request);
}

Status Network::AskStatus(const CniConfig& config) const {
  CniChain::Setting setting{&options_.bin_dirs, &log_, Deadline::After(options_.status_timeout),
                            cancelled_.get()};
  CniChain::PodPart part;
  part.env = PluginPath(options_.bin_dirs);
  return CniChain(config, setting, std::move(part)).CheckStatus();
}

void Network::CollectGarbageWhenReady(std::function<std::vector<CniAttachment>()> valid) {
  const absl::MutexLock lock(&mutex_);
  valid_ = std::move(valid);
}

void Network::CollectGarbage(const CniConfig& config) {
  std::function<std::vector<CniAttachment>()> valid;
  {
    const absl::MutexLock lock(&mutex_);
    valid = valid_;
  }
  if (valid == nullptr) return;
  const bool wanted = CniVersionAtLeast(config.version, "1.1.0") && !config.disable_gc;
  // Pods come first: while one is on its way on or off, GC waits for the next time round.
  if (wanted && !verbs_.TryLock()) return;
  Status status;
  if (wanted) {
    CniChain::Setting setting{&options_.bin_dirs, &log_, Deadline::After(options_.gc_timeout),
                              cancelled_.get()};
    CniChain::PodPart part;
    part.env = PluginPath(options_.bin_dirs);
    status = CniChain(config, setting, std::move(part)).CollectGarbage(valid());
    verbs_.Unlock();
  }
  if (!status.ok())
    log_.Warning("CNI GC failed, ignoring", {{"error", std::string(status.message())}});
  const absl::MutexLock lock(&mutex_);
  valid_ = nullptr;
}

}  // namespace gantry::cri
