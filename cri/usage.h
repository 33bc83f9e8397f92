// Reading what containers and pods use, for all RPCs that tell of it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cri/node.h"
#include "cri/usage_message.h"

namespace gantry::cri {

using Containers = std::vector<std::shared_ptr<const Container>>;

// One look at what there is, so that a list costs one pass over the tables.
struct Running {
  std::vector<std::shared_ptr<const Sandbox>> pods;  // READY ones
  Containers containers;                             // that run
  std::map<std::string, Containers> by_pod;
  [[nodiscard]] const Containers& Of(const std::string& pod_id) const;
};
Running RunningNow(const Node& node);
Containers RunningIn(const Node& node, const std::string& sandbox_id);

// kNotFound: it has gone meanwhile. A container that has exited has no CPU and memory.
StatusOr<v1::ContainerStats> StatsOfContainer(Node* node, const Container& container);
// Never fails: what cannot be read stays away, as all does for a pod that is not ready.
v1::PodSandboxStats StatsOfPod(Node* node, const Sandbox& sandbox, const Containers& containers);

// The writable layers of all of them are counted once before a list is made, if that is quick.
void AwaitLayers(Node* node, const Containers& containers);
WritableLayers::Layer LayerOf(const Node& node, const std::string& container_id);

// As Statistics has them, and nothing is kept for what has gone meanwhile.
StatusOr<GroupSample> ReadContainerGroup(Node* node, const Container& container);
struct ContainerDetail {
  GroupDetail group;
  std::vector<pid_t> processes;
};
ContainerDetail ReadContainerDetail(Node* node, const Container& container);
std::optional<GroupSample> ReadPodGroup(Node* node, const Sandbox& sandbox);
std::optional<std::vector<InterfaceCounters>> ReadPodNetwork(Node* node, const Sandbox& sandbox);

}  // namespace gantry::cri
