// A pod sandbox as the daemon knows it: a snapshot that is replaced as a whole (object_table.h).
#pragma once

#include <memory>
#include <string>

#include "cri/api.h"
#include "cri/pod_shim.h"
#include "cri/store/record.pb.h"

namespace gantry::cri {

struct Sandbox {
  store::SandboxRecord record;
  std::shared_ptr<const v1::PodSandboxConfig> config;  // what record.config holds
  std::shared_ptr<PodShim> shim;                       // nullptr: there is none (any more)
  std::shared_ptr<const std::string> list_entry;       // list_entry.h; nullptr: not made
  std::string died;        // of what it needs: it will never be READY (again); empty: nothing
  bool forgotten = false;  // its record is deleted: never to be written again
  bool claimed = true;  // the caller of RunPodSandbox, or its retry, has got the id: it is listed

  [[nodiscard]] bool ready() const { return record.state() == v1::SANDBOX_READY; }
  [[nodiscard]] const std::string& id() const { return record.id(); }
};

// The key of RunPodSandbox: name_namespace_uid_attempt.
std::string SandboxName(const v1::PodSandboxMetadata& metadata);

// The cgroup path of the pod: the kubelet's, or ours.
std::string PodCgroupPath(const store::SandboxRecord& record);

// Messages made of a snapshot: pure.
v1::PodSandbox SandboxSummary(const Sandbox& sandbox);
v1::PodSandboxStatus SandboxStatusMessage(const Sandbox& sandbox);

// True when every key of `selector` is among `labels` with the same value.
template <typename Map>
bool LabelsMatch(const Map& selector, const Map& labels) {
  for (const auto& [key, value] : selector) {
    const auto found = labels.find(key);
    if (found == labels.end() || found->second != value) return false;
  }
  return true;
}

}  // namespace gantry::cri
