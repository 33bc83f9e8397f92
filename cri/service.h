// Every RPC of the daemon, declared in one place and grouped as in the API; each is defined in the
// file of its name (sandbox_run.cc, container_start.cc, …). What is not implemented is in
// unimplemented.cc and says so.
//
// gRPC's synchronous API: an RPC is a plain function on its own thread; whatever outlives the
// caller belongs to an operation of the node, not to that thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include "cri/api.h"
#include "cri/node.h"
#include "cri/proto/gantry.grpc.pb.h"
#include "cri/proto/runtime.grpc.pb.h"

namespace gantry::cri {

class RuntimeService final : public v1::RuntimeService::Service {
 public:
  explicit RuntimeService(Node* node) : node_(*node) {}

  grpc::Status Version(grpc::ServerContext* context, const v1::VersionRequest* request,
                       v1::VersionResponse* response) override;
  grpc::Status Status(grpc::ServerContext* context, const v1::StatusRequest* request,
                      v1::StatusResponse* response) override;
  grpc::Status RuntimeConfig(grpc::ServerContext* context, const v1::RuntimeConfigRequest* request,
                             v1::RuntimeConfigResponse* response) override;
  grpc::Status UpdateRuntimeConfig(grpc::ServerContext* context,
                                   const v1::UpdateRuntimeConfigRequest* request,
                                   v1::UpdateRuntimeConfigResponse* response) override;
  grpc::Status RunPodSandbox(grpc::ServerContext* context, const v1::RunPodSandboxRequest* request,
                             v1::RunPodSandboxResponse* response) override;
  grpc::Status StopPodSandbox(grpc::ServerContext* context,
                              const v1::StopPodSandboxRequest* request,
                              v1::StopPodSandboxResponse* response) override;
  grpc::Status RemovePodSandbox(grpc::ServerContext* context,
                                const v1::RemovePodSandboxRequest* request,
                                v1::RemovePodSandboxResponse* response) override;
  grpc::Status PodSandboxStatus(grpc::ServerContext* context,
                                const v1::PodSandboxStatusRequest* request,
                                v1::PodSandboxStatusResponse* response) override;
  grpc::Status ListPodSandbox(grpc::ServerContext* context,
                              const v1::ListPodSandboxRequest* request,
                              v1::ListPodSandboxResponse* response) override;
  grpc::Status StreamPodSandboxes(
      grpc::ServerContext* context, const v1::StreamPodSandboxesRequest* request,
      grpc::ServerWriter<v1::StreamPodSandboxesResponse>* writer) override;
  grpc::Status UpdatePodSandboxResources(grpc::ServerContext* context,
                                         const v1::UpdatePodSandboxResourcesRequest* request,
                                         v1::UpdatePodSandboxResourcesResponse* response) override;
  grpc::Status CreateContainer(grpc::ServerContext* context,
                               const v1::CreateContainerRequest* request,
                               v1::CreateContainerResponse* response) override;
  grpc::Status StartContainer(grpc::ServerContext* context,
                              const v1::StartContainerRequest* request,
                              v1::StartContainerResponse* response) override;
  grpc::Status StopContainer(grpc::ServerContext* context, const v1::StopContainerRequest* request,
                             v1::StopContainerResponse* response) override;
  grpc::Status RemoveContainer(grpc::ServerContext* context,
                               const v1::RemoveContainerRequest* request,
                               v1::RemoveContainerResponse* response) override;
  grpc::Status ContainerStatus(grpc::ServerContext* context,
                               const v1::ContainerStatusRequest* request,
                               v1::ContainerStatusResponse* response) override;
  grpc::Status ListContainers(grpc::ServerContext* context,
                              const v1::ListContainersRequest* request,
                              v1::ListContainersResponse* response) override;
  grpc::Status StreamContainers(grpc::ServerContext* context,
                                const v1::StreamContainersRequest* request,
                                grpc::ServerWriter<v1::StreamContainersResponse>* writer) override;
  grpc::Status UpdateContainerResources(grpc::ServerContext* context,
                                        const v1::UpdateContainerResourcesRequest* request,
                                        v1::UpdateContainerResourcesResponse* response) override;
  grpc::Status ReopenContainerLog(grpc::ServerContext* context,
                                  const v1::ReopenContainerLogRequest* request,
                                  v1::ReopenContainerLogResponse* response) override;
  grpc::Status ExecSync(grpc::ServerContext* context, const v1::ExecSyncRequest* request,
                        v1::ExecSyncResponse* response) override;
  grpc::Status GetContainerEvents(grpc::ServerContext* context, const v1::GetEventsRequest* request,
                                  grpc::ServerWriter<v1::ContainerEventResponse>* writer) override;

  grpc::Status Exec(grpc::ServerContext* context, const v1::ExecRequest* request,
                    v1::ExecResponse* response) override;
  grpc::Status Attach(grpc::ServerContext* context, const v1::AttachRequest* request,
                      v1::AttachResponse* response) override;
  grpc::Status PortForward(grpc::ServerContext* context, const v1::PortForwardRequest* request,
                           v1::PortForwardResponse* response) override;
  grpc::Status ContainerStats(grpc::ServerContext* context,
                              const v1::ContainerStatsRequest* request,
                              v1::ContainerStatsResponse* response) override;
  grpc::Status ListContainerStats(grpc::ServerContext* context,
                                  const v1::ListContainerStatsRequest* request,
                                  v1::ListContainerStatsResponse* response) override;
  grpc::Status StreamContainerStats(
      grpc::ServerContext* context, const v1::StreamContainerStatsRequest* request,
      grpc::ServerWriter<v1::StreamContainerStatsResponse>* writer) override;
  grpc::Status PodSandboxStats(grpc::ServerContext* context,
                               const v1::PodSandboxStatsRequest* request,
                               v1::PodSandboxStatsResponse* response) override;
  grpc::Status ListPodSandboxStats(grpc::ServerContext* context,
                                   const v1::ListPodSandboxStatsRequest* request,
                                   v1::ListPodSandboxStatsResponse* response) override;
  grpc::Status StreamPodSandboxStats(
      grpc::ServerContext* context, const v1::StreamPodSandboxStatsRequest* request,
      grpc::ServerWriter<v1::StreamPodSandboxStatsResponse>* writer) override;
  grpc::Status ListMetricDescriptors(grpc::ServerContext* context,
                                     const v1::ListMetricDescriptorsRequest* request,
                                     v1::ListMetricDescriptorsResponse* response) override;
  grpc::Status ListPodSandboxMetrics(grpc::ServerContext* context,
                                     const v1::ListPodSandboxMetricsRequest* request,
                                     v1::ListPodSandboxMetricsResponse* response) override;
  grpc::Status StreamPodSandboxMetrics(
      grpc::ServerContext* context, const v1::StreamPodSandboxMetricsRequest* request,
      grpc::ServerWriter<v1::StreamPodSandboxMetricsResponse>* writer) override;

  // unimplemented.cc
  grpc::Status CheckpointContainer(grpc::ServerContext* context,
                                   const v1::CheckpointContainerRequest* request,
                                   v1::CheckpointContainerResponse* response) override;
  grpc::Status CheckpointPod(grpc::ServerContext* context, const v1::CheckpointPodRequest* request,
                             v1::CheckpointPodResponse* response) override;
  grpc::Status RestorePod(grpc::ServerContext* context, const v1::RestorePodRequest* request,
                          v1::RestorePodResponse* response) override;

 private:
  Node& node_;
};

class ImageService final : public v1::ImageService::Service {
 public:
  explicit ImageService(Node* node) : node_(*node) {}

  grpc::Status ListImages(grpc::ServerContext* context, const v1::ListImagesRequest* request,
                          v1::ListImagesResponse* response) override;
  grpc::Status StreamImages(grpc::ServerContext* context, const v1::StreamImagesRequest* request,
                            grpc::ServerWriter<v1::StreamImagesResponse>* writer) override;
  grpc::Status ImageStatus(grpc::ServerContext* context, const v1::ImageStatusRequest* request,
                           v1::ImageStatusResponse* response) override;
  grpc::Status PullImage(grpc::ServerContext* context, const v1::PullImageRequest* request,
                         v1::PullImageResponse* response) override;
  grpc::Status RemoveImage(grpc::ServerContext* context, const v1::RemoveImageRequest* request,
                           v1::RemoveImageResponse* response) override;
  grpc::Status ImageFsInfo(grpc::ServerContext* context, const v1::ImageFsInfoRequest* request,
                           v1::ImageFsInfoResponse* response) override;

 private:
  Node& node_;
};

// What CRI has no words for: cri/proto/gantry.proto.
class GantryService final : public ::gantry::v1::Gantry::Service {
 public:
  explicit GantryService(Node* node) : node_(*node) {}

  grpc::Status Info(grpc::ServerContext* context, const ::gantry::v1::InfoRequest* request,
                    ::gantry::v1::InfoResponse* response) override;
  grpc::Status DebugState(grpc::ServerContext* context,
                          const ::gantry::v1::DebugStateRequest* request,
                          ::gantry::v1::DebugStateResponse* response) override;
  grpc::Status ImportImage(grpc::ServerContext* context,
                           grpc::ServerReader<::gantry::v1::ImportImageRequest>* reader,
                           ::gantry::v1::ImportImageResponse* response) override;
  grpc::Status PullImage(grpc::ServerContext* context,
                         const ::gantry::v1::PullImageRequest* request,
                         grpc::ServerWriter<::gantry::v1::PullImageResponse>* writer) override;
  grpc::Status ExplainImage(grpc::ServerContext* context,
                            const ::gantry::v1::ExplainImageRequest* request,
                            ::gantry::v1::ExplainImageResponse* response) override;
  grpc::Status CheckImages(grpc::ServerContext* context,
                           const ::gantry::v1::CheckImagesRequest* request,
                           ::gantry::v1::CheckImagesResponse* response) override;
  grpc::Status VerifyImage(grpc::ServerContext* context,
                           const ::gantry::v1::VerifyImageRequest* request,
                           grpc::ServerWriter<::gantry::v1::VerifyImageResponse>* writer) override;
  grpc::Status ExportImages(
      grpc::ServerContext* context, const ::gantry::v1::ExportImagesRequest* request,
      grpc::ServerWriter<::gantry::v1::ExportImagesResponse>* writer) override;
  grpc::Status InspectImage(grpc::ServerContext* context,
                            const ::gantry::v1::InspectImageRequest* request,
                            ::gantry::v1::InspectImageResponse* response) override;

 private:
  Node& node_;
};

}  // namespace gantry::cri
