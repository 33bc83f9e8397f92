#include "cri/usage.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace gantry::cri {
namespace {

constexpr absl::Duration kFirstCount = absl::Milliseconds(50);

bool Runs(const Container& container) {
  return container.claimed && container.state() == v1::CONTAINER_RUNNING;
}

// Its readers may have been opened just after its end.
void ForgetEnded(Node* node, const std::string& container_id) {
  const auto now = node->containers.Find(container_id);
  if (now == nullptr || now->exited()) node->statistics->Forget(container_id);
}

}  // namespace

const Containers& Running::Of(const std::string& pod_id) const {
  static const Containers none;
  const auto found = by_pod.find(pod_id);
  return found == by_pod.end() ? none : found->second;
}

Running RunningNow(const Node& node) {
  Running running;
  for (const auto& sandbox : node.sandboxes.List())
    if (sandbox->claimed && sandbox->ready()) running.pods.push_back(sandbox);
  for (const auto& container : node.containers.List()) {
    if (!Runs(*container)) continue;
    running.containers.push_back(container);
    running.by_pod[container->record.sandbox_id()].push_back(container);
  }
  return running;
}

Containers RunningIn(const Node& node, const std::string& sandbox_id) {
  Containers found;
  for (const auto& container : node.containers.List())
    if (Runs(*container) && container->record.sandbox_id() == sandbox_id)
      found.push_back(container);
  return found;
}

WritableLayers::Layer LayerOf(const Node& node, const std::string& container_id) {
  return {container_id, node.snapshots->UpperDirectory(container_id)};
}

void AwaitLayers(Node* node, const Containers& containers) {
  std::vector<WritableLayers::Layer> layers;
  layers.reserve(containers.size());
  for (const auto& container : containers) layers.push_back(LayerOf(*node, container->id()));
  node->statistics->layers().AwaitFirst(layers, kFirstCount);
}

StatusOr<GroupSample> ReadContainerGroup(Node* node, const Container& container) {
  auto sample = node->statistics->Read(container.id(), container.cgroup);
  ForgetEnded(node, container.id());
  return sample;
}

ContainerDetail ReadContainerDetail(Node* node, const Container& container) {
  ContainerDetail detail;
  detail.group = node->statistics->Detail(container.id(), container.cgroup);
  detail.processes = node->statistics->Processes(container.id(), container.cgroup);
  ForgetEnded(node, container.id());
  return detail;
}

std::optional<GroupSample> ReadPodGroup(Node* node, const Sandbox& sandbox) {
  const auto paths = CgroupPathsFor(node->features.cgroups, PodCgroupPath(sandbox.record));
  if (!paths.ok() || !sandbox.ready()) return std::nullopt;
  const auto sample = node->statistics->Read(sandbox.id(), *paths);
  const auto now = node->sandboxes.Find(sandbox.id());
  if (now == nullptr || !now->ready()) node->statistics->Forget(sandbox.id());
  if (!sample.ok()) return std::nullopt;
  return *sample;
}

std::optional<std::vector<InterfaceCounters>> ReadPodNetwork(Node* node, const Sandbox& sandbox) {
  if (!sandbox.ready()) return std::nullopt;
  auto network = node->statistics->Network(sandbox.id(), sandbox.record.netns_path());
  const auto now = node->sandboxes.Find(sandbox.id());
  if (now == nullptr || !now->ready()) node->statistics->Forget(sandbox.id());
  return network;
}

StatusOr<v1::ContainerStats> StatsOfContainer(Node* node, const Container& container) {
  ContainerUse use;
  use.asked_at_ns = absl::GetCurrentTimeNanos();
  use.file_system = node->images->root();
  use.layer = node->statistics->layers().Find(LayerOf(*node, container.id()));
  if (!container.exited()) {
    ASSIGN_OR_RETURN_CONTEXT(use.group, ReadContainerGroup(node, container),
                             absl::StrCat("container \"", container.id(), "\""));
  } else if (node->containers.Find(container.id()) == nullptr) {
    node->statistics->Forget(container.id());
  }
  return ContainerStatsMessage(container, use);
}

v1::PodSandboxStats StatsOfPod(Node* node, const Sandbox& sandbox, const Containers& containers) {
  PodUse use;
  use.group = ReadPodGroup(node, sandbox);
  use.network = ReadPodNetwork(node, sandbox);
  for (const auto& container : containers) {
    use.processes += node->statistics->Processes(container->id(), container->cgroup).size();
    // One that has gone meanwhile is left out.
    if (auto stats = StatsOfContainer(node, *container); stats.ok())
      use.containers.push_back(*std::move(stats));
  }
  use.asked_at_ns = absl::GetCurrentTimeNanos();
  return PodSandboxStatsMessage(sandbox, std::move(use));
}

}  // namespace gantry::cri
