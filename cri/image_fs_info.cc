#include "absl/time/clock.h"

#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {

// Images and writable layers share one file system, the root's. It is listed under both with one
// mount point: the kubelet takes two different ones for a split file system, and would collect
// garbage on each.
grpc::Status ImageService::ImageFsInfo(grpc::ServerContext* context, const v1::ImageFsInfoRequest*,
                                       v1::ImageFsInfoResponse* response) {
  return Serve(node_.log, context, "ImageFsInfo", "", [&](const Rpc&) -> Status {
    const images::ImageStore::Usage usage = node_.images->DiskUsage();
    v1::FilesystemUsage* filesystem = response->add_image_filesystems();
    filesystem->set_timestamp(absl::GetCurrentTimeNanos());
    filesystem->mutable_fs_id()->set_mountpoint(node_.images->root());
    filesystem->mutable_used_bytes()->set_value(usage.bytes);
    filesystem->mutable_inodes_used()->set_value(usage.inodes);
    *response->add_container_filesystems() = *filesystem;
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
