#include "cri/image_volumes.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

#include "cri/image_lookup.h"
#include "cri/spec/container_spec.h"

namespace gantry::cri {
namespace {

constexpr char kReasonPayload[] = "gantry/cri-reason";
constexpr char kReason[] = "ImageVolumeMountFailed";  // cri-api, pkg/errors
constexpr int kMostVolumes = 15;  // with the root file system: as many descriptors as a frame takes

Status Failed(Status status, const v1::Mount& mount) {
  status = Annotate(status, absl::StrCat("image volume \"", mount.container_path(), "\""));
  status.SetPayload(kReasonPayload, absl::Cord(kReason));
  return status;
}

StatusOr<UniqueFd> MountVolume(images::Snapshots* snapshots, const v1::Mount& mount,
                               const store::ImageVolumeRecord& volume, int user_namespace) {
  if (volume.layers().empty()) return absl::InvalidArgumentError("the image has no layers");
  return snapshots->Volume({volume.layers().begin(), volume.layers().end()}, mount.image_sub_path(),
                           user_namespace);
}

}  // namespace

Status FindImageVolumes(const images::ImageStore& images, const v1::ContainerConfig& config,
                        store::ContainerRecord* record) {
  for (const auto& mount : config.mounts()) {
    if (!IsImageVolume(mount)) continue;
    const auto image = FindImage(images, mount.image().image());
    if (!image.ok()) return Failed(image.status(), mount);
    if (record->image_volumes_size() == kMostVolumes)
      return Failed(absl::InvalidArgumentError(
                        absl::StrCat("a container takes ", kMostVolumes, " of them at most")),
                    mount);
    store::ImageVolumeRecord* volume = record->add_image_volumes();
    volume->set_container_path(mount.container_path());
    volume->set_image_id((*image)->id);
    volume->mutable_layers()->Assign((*image)->layers.begin(), (*image)->layers.end());
  }
  return absl::OkStatus();
}

std::vector<std::string> HeldLayers(const store::ContainerRecord& record) {
  std::vector<std::string> layers(record.layers().begin(), record.layers().end());
  for (const auto& volume : record.image_volumes())
    layers.insert(layers.end(), volume.layers().begin(), volume.layers().end());
  return layers;
}

StatusOr<std::map<std::string, UniqueFd>> MountImageVolumes(images::Snapshots* snapshots,
                                                            const v1::ContainerConfig& config,
                                                            const store::ContainerRecord& record,
                                                            int user_namespace) {
  std::map<std::string, UniqueFd> mounts;
  int next = 0;  // they are recorded in the order of the configuration
  for (const auto& mount : config.mounts()) {
    if (!IsImageVolume(mount)) continue;
    auto made = MountVolume(snapshots, mount, record.image_volumes(next++), user_namespace);
    if (!made.ok()) return Failed(made.status(), mount);
    mounts[MountDestination(mount)] = *std::move(made);
  }
  return mounts;
}

void AddImageRefs(const store::ContainerRecord& record, v1::ContainerStatus* status) {
  int next = 0;
  for (v1::Mount& mount : *status->mutable_mounts()) {
    if (!IsImageVolume(mount) || next >= record.image_volumes_size()) continue;
    // What PullImage said, by which the image is asked for: so critest 1.37 has it.
    mount.mutable_image()->set_image_ref(record.image_volumes(next++).image_id());
  }
}

Status WithReasonFirst(const Status& status) {
  const auto reason = status.GetPayload(kReasonPayload);
  if (!reason.has_value()) return status;
  return {status.code(), absl::StrCat(std::string(*reason), ": ", status.message())};
}

}  // namespace gantry::cri
