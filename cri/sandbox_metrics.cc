// ListPodSandboxMetrics and StreamPodSandboxMetrics: READY pods with their running containers.
//
// Of a pod: its network (under the sandbox's id, as cAdvisor has it under the pause container) and
// the use of its cgroup, which is what the pod costs as a whole. No two samples of a family have
// the same labels: Prometheus refuses the whole answer else.
#include <sys/statvfs.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "cri/batch_writer.h"
#include "cri/image_message.h"
#include "cri/in_parallel.h"
#include "cri/list_entry.h"
#include "cri/metric_samples.h"
#include "cri/metrics/block_devices.h"
#include "cri/rpc.h"
#include "cri/service.h"
#include "cri/usage.h"

namespace gantry::cri {
namespace {

FileSystemUse LayerFileSystem(const std::string& root) {
  FileSystemUse use;
  use.device = FileSystemDevice(root);
  struct statvfs st;
  if (statvfs(root.c_str(), &st) != 0) return use;
  use.bytes = st.f_blocks * st.f_frsize;
  use.inodes = st.f_files;
  use.inodes_free = st.f_ffree;
  return use;
}

class MetricsList {
 public:
  explicit MetricsList(Node* node)
      : node_(*node), running_(RunningNow(*node)), files_(LayerFileSystem(node->images->root())) {
    AwaitLayers(node, running_.containers);
    // Two attempts of a pod can be there at once, in one cgroup.
    std::set<std::string> seen;
    for (const auto& pod : running_.pods) {
      const v1::PodSandboxMetadata& name = pod->config->metadata();
      const std::string key =
          absl::StrCat(PodCgroupPath(pod->record), "|", name.namespace_(), "|", name.name());
      if (seen.insert(key).second) first_.insert(pod->id());
    }
  }

  [[nodiscard]] const std::vector<std::shared_ptr<const Sandbox>>& pods() const {
    return running_.pods;
  }

  // The wire form of a PodSandboxMetrics. Any thread.
  [[nodiscard]] std::string Of(const Sandbox& sandbox) const {
    v1::PodSandboxMetrics head;
    head.set_pod_sandbox_id(sandbox.id());
    std::string pod = head.SerializeAsString();
    AddPod(sandbox, &pod);
    for (const auto& container : running_.Of(sandbox.id())) {
      const auto group = ReadContainerGroup(&node_, *container);
      if (!group.ok()) continue;  // it has gone meanwhile
      AppendContainer(OfContainer(sandbox, *container, group->use), &pod);
    }
    return pod;
  }

 private:
  void AddPod(const Sandbox& sandbox, std::string* message) const {
    const v1::PodSandboxMetadata& pod = sandbox.config->metadata();
    BaseLabels labels = {"", PodCgroupPath(sandbox.record), "", "", pod.namespace_(), pod.name()};
    const auto group = ReadPodGroup(&node_, sandbox);
    if (group && first_.contains(sandbox.id())) {
      SampleWriter writer(message, labels, group->use.read_at_ns);
      AddUse(group->use, &writer);
    }
    labels[3] = sandbox.id();
    SampleWriter writer(message, labels, absl::GetCurrentTimeNanos());
    if (const auto network = ReadPodNetwork(&node_, sandbox)) AddNetwork(*network, &writer);
  }

  // The wire form of a ContainerMetrics.
  [[nodiscard]] std::string OfContainer(const Sandbox& sandbox, const Container& container,
                                        const GroupUse& use) const {
    const v1::PodSandboxMetadata& pod = sandbox.config->metadata();
    const BaseLabels labels = {container.config->metadata().name(),
                               container.record.cgroup_path(),
                               NameAsWritten(container.config->image()),
                               container.id(),
                               pod.namespace_(),
                               pod.name()};
    v1::ContainerMetrics head;
    head.set_container_id(container.id());
    std::string message = head.SerializeAsString();
    SampleWriter writer(&message, labels, use.read_at_ns);
    writer.Add(Metric::kLastSeen, static_cast<uint64_t>(use.read_at_ns) / kNsPerSecond);
    writer.Add(Metric::kStartTime,
               static_cast<uint64_t>(container.record.started_at_ns()) / kNsPerSecond);
    AddUse(use, &writer);
    const ContainerDetail detail = ReadContainerDetail(&node_, container);
    AddDetail(use, detail.group, &writer);
    AddProcesses(CountProcesses(detail.processes), OpenFileLimit(container.record.pid()), &writer);
    const auto layer = node_.statistics->layers().Find(LayerOf(node_, container.id()));
    AddFileSystem(files_, layer ? std::optional(layer->bytes) : std::nullopt, &writer);
    return message;
  }

  static constexpr uint64_t kNsPerSecond = 1'000'000'000;

  Node& node_;
  const Running running_;
  const FileSystemUse files_;
  std::set<std::string> first_;  // of each cgroup: the sandboxes that tell of it
};

}  // namespace

grpc::Status RuntimeService::ListPodSandboxMetrics(grpc::ServerContext*,
                                                   const v1::ListPodSandboxMetricsRequest*,
                                                   v1::ListPodSandboxMetricsResponse* response) {
  const MetricsList list(&node_);
  std::vector<std::string> pods(list.pods().size());
  InParallel(pods.size(), [&](size_t i) { pods[i] = list.Of(*list.pods()[i]); });
  for (std::string& pod : pods)
    AddEncoded(v1::ListPodSandboxMetricsResponse::kPodMetricsFieldNumber, std::move(pod), response);
  return grpc::Status::OK;
}

grpc::Status RuntimeService::StreamPodSandboxMetrics(
    grpc::ServerContext*, const v1::StreamPodSandboxMetricsRequest*,
    grpc::ServerWriter<v1::StreamPodSandboxMetricsResponse>* writer) {
  constexpr int kBatch = 50;  // 1 to 2 MB
  const MetricsList list(&node_);
  BatchWriter<v1::StreamPodSandboxMetricsResponse> batch(writer, kBatch);
  for (const auto& sandbox : list.pods()) {
    AddEncoded(v1::StreamPodSandboxMetricsResponse::kPodSandboxMetricsFieldNumber,
               list.Of(*sandbox), batch.message());
    if (!batch.Added()) return grpc::Status::OK;
  }
  batch.Flush();
  return grpc::Status::OK;
}

}  // namespace gantry::cri
