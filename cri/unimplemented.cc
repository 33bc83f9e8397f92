// What is not here yet, each RPC by its name. Nothing is logged: kubelets ask again and again.
#include "absl/strings/str_cat.h"

#include "cri/service.h"

namespace gantry::cri {
namespace {

grpc::Status NotImplemented(absl::string_view rpc) {
  return {grpc::StatusCode::UNIMPLEMENTED, absl::StrCat(rpc, " is not implemented yet by gantry")};
}

}  // namespace

grpc::Status RuntimeService::Exec(grpc::ServerContext*, const v1::ExecRequest*, v1::ExecResponse*) {
  return NotImplemented("Exec");
}

grpc::Status RuntimeService::Attach(grpc::ServerContext*, const v1::AttachRequest*,
                                    v1::AttachResponse*) {
  return NotImplemented("Attach");
}

grpc::Status RuntimeService::PortForward(grpc::ServerContext*, const v1::PortForwardRequest*,
                                         v1::PortForwardResponse*) {
  return NotImplemented("PortForward");
}

grpc::Status RuntimeService::ContainerStats(grpc::ServerContext*, const v1::ContainerStatsRequest*,
                                            v1::ContainerStatsResponse*) {
  return NotImplemented("ContainerStats");
}

grpc::Status RuntimeService::ListContainerStats(grpc::ServerContext*,
                                                const v1::ListContainerStatsRequest*,
                                                v1::ListContainerStatsResponse*) {
  return NotImplemented("ListContainerStats");
}

grpc::Status RuntimeService::StreamContainerStats(
    grpc::ServerContext*, const v1::StreamContainerStatsRequest*,
    grpc::ServerWriter<v1::StreamContainerStatsResponse>*) {
  return NotImplemented("StreamContainerStats");
}

grpc::Status RuntimeService::PodSandboxStats(grpc::ServerContext*,
                                             const v1::PodSandboxStatsRequest*,
                                             v1::PodSandboxStatsResponse*) {
  return NotImplemented("PodSandboxStats");
}

grpc::Status RuntimeService::ListPodSandboxStats(grpc::ServerContext*,
                                                 const v1::ListPodSandboxStatsRequest*,
                                                 v1::ListPodSandboxStatsResponse*) {
  return NotImplemented("ListPodSandboxStats");
}

grpc::Status RuntimeService::StreamPodSandboxStats(
    grpc::ServerContext*, const v1::StreamPodSandboxStatsRequest*,
    grpc::ServerWriter<v1::StreamPodSandboxStatsResponse>*) {
  return NotImplemented("StreamPodSandboxStats");
}

grpc::Status RuntimeService::ListMetricDescriptors(grpc::ServerContext*,
                                                   const v1::ListMetricDescriptorsRequest*,
                                                   v1::ListMetricDescriptorsResponse*) {
  return NotImplemented("ListMetricDescriptors");
}

grpc::Status RuntimeService::ListPodSandboxMetrics(grpc::ServerContext*,
                                                   const v1::ListPodSandboxMetricsRequest*,
                                                   v1::ListPodSandboxMetricsResponse*) {
  return NotImplemented("ListPodSandboxMetrics");
}

grpc::Status RuntimeService::StreamPodSandboxMetrics(
    grpc::ServerContext*, const v1::StreamPodSandboxMetricsRequest*,
    grpc::ServerWriter<v1::StreamPodSandboxMetricsResponse>*) {
  return NotImplemented("StreamPodSandboxMetrics");
}

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
