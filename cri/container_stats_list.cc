// ListContainerStats and StreamContainerStats: of containers that run. One that goes meanwhile is
// left out.
#include "absl/strings/match.h"

#include "cri/batch_writer.h"
#include "cri/rpc.h"
#include "cri/service.h"
#include "cri/usage.h"

namespace gantry::cri {
namespace {

bool Matches(const Container& container, const v1::ContainerStatsFilter& filter) {
  return absl::StartsWith(container.id(), filter.id()) &&
         absl::StartsWith(container.record.sandbox_id(), filter.pod_sandbox_id()) &&
         LabelsMatch(filter.label_selector(), container.config->labels());
}

Containers Wanted(const Node& node, const v1::ContainerStatsFilter& filter) {
  Containers wanted = RunningNow(node).containers;
  std::erase_if(wanted, [&filter](const auto& container) { return !Matches(*container, filter); });
  return wanted;
}

}  // namespace

grpc::Status RuntimeService::ListContainerStats(grpc::ServerContext*,
                                                const v1::ListContainerStatsRequest* request,
                                                v1::ListContainerStatsResponse* response) {
  const Containers wanted = Wanted(node_, request->filter());
  AwaitLayers(&node_, wanted);
  for (const auto& container : wanted)
    if (auto stats = StatsOfContainer(&node_, *container); stats.ok())
      *response->add_stats() = *std::move(stats);
  return grpc::Status::OK;
}

grpc::Status RuntimeService::StreamContainerStats(
    grpc::ServerContext*, const v1::StreamContainerStatsRequest* request,
    grpc::ServerWriter<v1::StreamContainerStatsResponse>* writer) {
  constexpr int kBatch = 1000;
  const Containers wanted = Wanted(node_, request->filter());
  AwaitLayers(&node_, wanted);
  BatchWriter<v1::StreamContainerStatsResponse> batch(writer, kBatch);
  for (const auto& container : wanted) {
    auto stats = StatsOfContainer(&node_, *container);
    if (!stats.ok()) continue;
    *batch.message()->add_container_stats() = *std::move(stats);
    if (!batch.Added()) return grpc::Status::OK;
  }
  batch.Flush();
  return grpc::Status::OK;
}

}  // namespace gantry::cri
