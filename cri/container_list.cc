#include "absl/strings/match.h"

#include "cri/batch_writer.h"
#include "cri/list_entry.h"
#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {
namespace {

bool Matches(const Container& container, const v1::ContainerFilter& filter) {
  if (!container.claimed || !absl::StartsWith(container.id(), filter.id())) return false;
  if (!filter.pod_sandbox_id().empty() &&
      !absl::StartsWith(container.record.sandbox_id(), filter.pod_sandbox_id()))
    return false;
  if (filter.has_state() && container.record.state() != filter.state().state()) return false;
  return LabelsMatch(filter.label_selector(), container.config->labels());
}

}  // namespace

grpc::Status RuntimeService::ListContainers(grpc::ServerContext*,
                                            const v1::ListContainersRequest* request,
                                            v1::ListContainersResponse* response) {
  for (const auto& container : node_.containers.List())
    if (Matches(*container, request->filter()))
      AddEncoded(v1::ListContainersResponse::kContainersFieldNumber, ListEntry(*container),
                 response);
  return grpc::Status::OK;
}

grpc::Status RuntimeService::StreamContainers(
    grpc::ServerContext*, const v1::StreamContainersRequest* request,
    grpc::ServerWriter<v1::StreamContainersResponse>* writer) {
  constexpr int kBatch = 1000;
  BatchWriter<v1::StreamContainersResponse> batch(writer, kBatch);
  for (const auto& container : node_.containers.List()) {
    if (!Matches(*container, request->filter())) continue;
    AddEncoded(v1::StreamContainersResponse::kContainersFieldNumber, ListEntry(*container),
               batch.message());
    if (!batch.Added()) return grpc::Status::OK;
  }
  batch.Flush();
  return grpc::Status::OK;
}

}  // namespace gantry::cri
