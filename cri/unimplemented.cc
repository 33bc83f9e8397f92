// What is not here yet, each RPC by its name. Nothing is logged: kubelets ask again and again.
#include "absl/strings/str_cat.h"

#include "cri/service.h"

namespace gantry::cri {
namespace {

grpc::Status NotImplemented(absl::string_view rpc) {
  return {grpc::StatusCode::UNIMPLEMENTED, absl::StrCat(rpc, " is not implemented yet by gantry")};
}

}  // namespace

grpc::Status RuntimeService::CheckpointContainer(grpc::ServerContext*,
                                                 const v1::CheckpointContainerRequest*,
                                                 v1::CheckpointContainerResponse*) {
  return NotImplemented("CheckpointContainer");
}

grpc::Status RuntimeService::CheckpointPod(grpc::ServerContext*, const v1::CheckpointPodRequest*,
                                           v1::CheckpointPodResponse*) {
  return NotImplemented("CheckpointPod");
}

grpc::Status RuntimeService::RestorePod(grpc::ServerContext*, const v1::RestorePodRequest*,
                                        v1::RestorePodResponse*) {
  return NotImplemented("RestorePod");
}

}  // namespace gantry::cri
