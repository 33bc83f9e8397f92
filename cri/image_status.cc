#include "cri/image_message.h"
#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {

// An absent image is an answer without an image: the kubelet asks so before it pulls.
grpc::Status ImageService::ImageStatus(grpc::ServerContext* context,
                                       const v1::ImageStatusRequest* request,
                                       v1::ImageStatusResponse* response) {
  const std::string& name = request->image().image();
  return Serve(node_.log, context, "ImageStatus", name, [&](const Rpc&) -> Status {
    ASSIGN_OR_RETURN(const auto image, node_.images->Find(name));
    if (image == nullptr) return absl::OkStatus();
    v1::Image* message = response->mutable_image();
    *message = ImageMessage(*image, node_.config.image.pinned_images);
    if (request->verbose())
      (*response->mutable_info())["info"] = ImageDetailJson(*image, message->pinned());
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
