#include "absl/strings/match.h"

#include "cri/batch_writer.h"
#include "cri/list_entry.h"
#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {
namespace {

bool Matches(const Sandbox& sandbox, const v1::PodSandboxFilter& filter) {
  if (!sandbox.claimed || !absl::StartsWith(sandbox.id(), filter.id())) return false;
  if (filter.has_state() && sandbox.record.state() != filter.state().state()) return false;
  return LabelsMatch(filter.label_selector(), sandbox.config->labels());
}

}  // namespace

grpc::Status RuntimeService::ListPodSandbox(grpc::ServerContext*,
                                            const v1::ListPodSandboxRequest* request,
                                            v1::ListPodSandboxResponse* response) {
  for (const auto& sandbox : node_.sandboxes.List())
    if (Matches(*sandbox, request->filter()))
      AddEncoded(v1::ListPodSandboxResponse::kItemsFieldNumber, ListEntry(*sandbox), response);
  return grpc::Status::OK;
}

grpc::Status RuntimeService::StreamPodSandboxes(
    grpc::ServerContext*, const v1::StreamPodSandboxesRequest* request,
    grpc::ServerWriter<v1::StreamPodSandboxesResponse>* writer) {
  constexpr int kBatch = 1000;
  BatchWriter<v1::StreamPodSandboxesResponse> batch(writer, kBatch);
  for (const auto& sandbox : node_.sandboxes.List()) {
    if (!Matches(*sandbox, request->filter())) continue;
    AddEncoded(v1::StreamPodSandboxesResponse::kPodSandboxesFieldNumber, ListEntry(*sandbox),
               batch.message());
    if (!batch.Added()) return grpc::Status::OK;
  }
  batch.Flush();
  return grpc::Status::OK;
}

}  // namespace gantry::cri
