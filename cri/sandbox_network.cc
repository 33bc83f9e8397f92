#include "cri/sandbox_network.h"

#include "absl/strings/str_cat.h"

#include "cri/network/netns.h"
#include "cri/network_debts.h"
#include "cri/pod_files.h"

namespace gantry::cri {
namespace {

constexpr int kToldTries = 3;

bool IsWildcard(const std::string& ip) { return ip.empty() || ip == "0.0.0.0" || ip == "::"; }

bool Collide(const v1::PortMapping& a, const v1::PortMapping& b) {
  return a.host_port() > 0 && a.host_port() == b.host_port() && a.protocol() == b.protocol() &&
         (a.host_ip() == b.host_ip() || IsWildcard(a.host_ip()) || IsWildcard(b.host_ip()));
}

Status CheckPorts(const Sandbox& other, const v1::PodSandboxConfig& config) {
  for (const v1::PortMapping& theirs : other.config->port_mappings()) {
    for (const v1::PortMapping& ours : config.port_mappings()) {
      if (!Collide(theirs, ours)) continue;
      return absl::FailedPreconditionError(absl::StrCat(
          "host port ", ours.host_port(), "/", v1::Protocol_Name(ours.protocol()),
          " is in use by pod \"", other.id(), "\" (", other.config->metadata().namespace_(), "/",
          other.config->metadata().name(), "); stop that pod or choose another host port"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

Status ClaimNetwork(Node* node, const v1::PodSandboxConfig& config, store::SandboxRecord* record) {
  // A plugin that is not there could not take part in DEL either: nothing is begun without it.
  RETURN_IF_ERROR(node->network->Ready());
  RETURN_IF_ERROR(node->network->Check(NetworkRequestOf(config, *record)));
  ASSIGN_OR_RETURN(const std::string chain, node->network->Config());
  const absl::MutexLock lock(&node->host_ports);
  if (config.port_mappings_size() > 0) {
    for (const auto& other : node->sandboxes.List())
      if (other->id() != record->id() && other->record.network_intended())
        RETURN_IF_ERROR(CheckPorts(*other, config));
  }
  record->set_network_intended(true);
  record->set_cni_config(chain);
  node->sandboxes.Update(record->id(), [record](Sandbox& sandbox) { sandbox.record = *record; });
  return absl::OkStatus();
}

Status PayNetwork(Node* node, const v1::PodSandboxConfig& config, store::SandboxRecord* record) {
  if (!record->network_intended()) return absl::OkStatus();
  RETURN_IF_ERROR_CONTEXT(node->network->Del(NetworkRequestOf(config, *record),
                                             record->cni_config(), record->cni_result()),
                          "take the pod off its network");
  record->set_network_intended(false);
  return absl::OkStatus();
}

Status LeaveNetwork(Node* node, const v1::PodSandboxConfig& config, store::SandboxRecord* record) {
  const Status paid = PayNetwork(node, config, record);
  if (!paid.ok()) {
    node->network_debts->Add(record->id());
    record->set_network_tries(record->network_tries() + 1);
    if (record->network_tries() <= kToldTries) return paid;
    node->log.Warning("the pod goes although CNI DEL fails: it is tried until it succeeds",
                      {{kPodField, record->id()}, {"error", std::string(paid.message())}});
  }
  return record->netns_path().empty() ? absl::OkStatus() : UnpinNetns(record->netns_path());
}

std::vector<CniAttachment> ValidAttachments(const Node& node) {
  std::vector<CniAttachment> valid;
  for (const auto& sandbox : node.sandboxes.List())
    if (sandbox->record.network_intended()) valid.push_back({sandbox->id()});
  for (const std::string& id : node.network_debts->Kept()) valid.push_back({id});
  return valid;
}

}  // namespace gantry::cri
