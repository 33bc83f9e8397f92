// ListPodSandboxStats and StreamPodSandboxStats: of READY pods. What cannot be read of one stays
// away, and never fails the list.
#include "absl/strings/match.h"

#include "cri/batch_writer.h"
#include "cri/in_parallel.h"
#include "cri/rpc.h"
#include "cri/service.h"
#include "cri/usage.h"

namespace gantry::cri {
namespace {

bool Matches(const Sandbox& sandbox, const v1::PodSandboxStatsFilter& filter) {
  return absl::StartsWith(sandbox.id(), filter.id()) &&
         LabelsMatch(filter.label_selector(), sandbox.config->labels());
}

// READY pods that the filter lets through, and what runs at all.
Running Wanted(Node* node, const v1::PodSandboxStatsFilter& filter) {
  Running running = RunningNow(*node);
  std::erase_if(running.pods,
                [&filter](const auto& sandbox) { return !Matches(*sandbox, filter); });
  Containers containers;
  for (const auto& sandbox : running.pods)
    for (const auto& container : running.Of(sandbox->id())) containers.push_back(container);
  AwaitLayers(node, containers);
  return running;
}

}  // namespace

grpc::Status RuntimeService::ListPodSandboxStats(grpc::ServerContext*,
                                                 const v1::ListPodSandboxStatsRequest* request,
                                                 v1::ListPodSandboxStatsResponse* response) {
  const Running wanted = Wanted(&node_, request->filter());
  for (size_t i = 0; i < wanted.pods.size(); ++i) response->add_stats();
  InParallel(wanted.pods.size(), [&](size_t i) {
    const Sandbox& sandbox = *wanted.pods[i];
    *response->mutable_stats(static_cast<int>(i)) =
        StatsOfPod(&node_, sandbox, wanted.Of(sandbox.id()));
  });
  return grpc::Status::OK;
}

grpc::Status RuntimeService::StreamPodSandboxStats(
    grpc::ServerContext*, const v1::StreamPodSandboxStatsRequest* request,
    grpc::ServerWriter<v1::StreamPodSandboxStatsResponse>* writer) {
  constexpr int kBatch = 500;
  const Running wanted = Wanted(&node_, request->filter());
  BatchWriter<v1::StreamPodSandboxStatsResponse> batch(writer, kBatch);
  for (const auto& sandbox : wanted.pods) {
    *batch.message()->add_pod_sandbox_stats() =
        StatsOfPod(&node_, *sandbox, wanted.Of(sandbox->id()));
    if (!batch.Added()) return grpc::Status::OK;
  }
  batch.Flush();
  return grpc::Status::OK;
}

}  // namespace gantry::cri
