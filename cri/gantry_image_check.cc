#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "cri/rpc.h"
#include "cri/service.h"
#include "imageservice/image_repair.h"
#include "imageservice/layer_hold.h"
#include "imageservice/layer_tar.h"

namespace gantry::cri {
namespace {

void AddDamage(const images::ImageStore::Damage& damage,
               ::gantry::v1::CheckImagesResponse* response) {
  auto* entry = response->add_damages();
  entry->set_layer(damage.layer);
  for (const std::string& image : damage.images) entry->add_images(image);
  entry->set_problem(std::string(damage.what.message()));
}

Status Repair(Node& node, const std::vector<images::ImageStore::Damage>& damages,
              const std::function<bool()>& gone, ::gantry::v1::CheckImagesResponse* response) {
  for (const auto& damage : damages)
    if (damage.certain()) RETURN_IF_ERROR(node.images->SetAside(damage));
  for (const auto& image : images::RepairImages(node.images.get(), node.puller.get(), gone)) {
    auto* entry = response->add_repairs();
    entry->set_image(image.id);
    entry->set_reference(image.reference);
    entry->set_error(std::string(image.outcome.message()));
  }
  return absl::OkStatus();
}

}  // namespace

grpc::Status GantryService::CheckImages(grpc::ServerContext* context,
                                        const ::gantry::v1::CheckImagesRequest* request,
                                        ::gantry::v1::CheckImagesResponse* response) {
  return Serve(node_.log, context, "CheckImages", "", [&](const Rpc& rpc) -> Status {
    const auto gone = [&] { return rpc.cancelled() || absl::Now() >= rpc.deadline(); };
    const auto damages = node_.images->Check(request->contents(), gone);
    for (const auto& damage : damages) AddDamage(damage, response);
    if (!gone() && request->repair()) RETURN_IF_ERROR(Repair(node_, damages, gone, response));
    for (const auto& image : node_.images->Incomplete()) response->add_incomplete(image->id);
    return gone() ? rpc.CancelledStatus("check images") : absl::OkStatus();
  });
}

grpc::Status GantryService::VerifyImage(
    grpc::ServerContext* context, const ::gantry::v1::VerifyImageRequest* request,
    grpc::ServerWriter<::gantry::v1::VerifyImageResponse>* writer) {
  return Serve(node_.log, context, "VerifyImage", request->image(), [&](const Rpc& rpc) -> Status {
    ASSIGN_OR_RETURN(const auto image, node_.images->Find(request->image()));
    if (image == nullptr)
      return absl::NotFoundError(absl::StrCat("no image \"", request->image(), "\""));
    images::LayerTarOptions options;
    options.unpacker_binary = node_.unpacker_binary;
    options.cancelled = [&] { return rpc.cancelled() || absl::Now() >= rpc.deadline(); };
    // Collected meanwhile it would look damaged.
    const images::LayerHold hold(node_.images.get(), image->layers);
    for (size_t i = 0; i < image->layers.size(); ++i) {
      ::gantry::v1::VerifyImageResponse message;
      message.set_layer(image->layers[i]);
      message.set_diff_id(image->diff_ids[i]);
      options.diff_id = image->diff_ids[i];
      const Status verified = images::VerifyLayer(node_.images.get(), image->layers[i], options);
      if (absl::IsCancelled(verified)) return rpc.CancelledStatus("verify image");
      message.set_problem(std::string(verified.message()));
      if (!writer->Write(message)) return rpc.CancelledStatus("verify image");
    }
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
