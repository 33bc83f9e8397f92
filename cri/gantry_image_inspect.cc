#include "absl/strings/str_cat.h"

#include "cri/image_message.h"
#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {

grpc::Status GantryService::InspectImage(grpc::ServerContext* context,
                                         const ::gantry::v1::InspectImageRequest* request,
                                         ::gantry::v1::InspectImageResponse* response) {
  return Serve(node_.log, context, "InspectImage", request->image(), [&](const Rpc&) -> Status {
    ASSIGN_OR_RETURN(const auto image, node_.images->Find(request->image()));
    if (image == nullptr)
      return absl::NotFoundError(absl::StrCat("no image \"", request->image(), "\" on this node"));
    const bool pinned = IsPinned(*image, node_.config.image.pinned_images);
    response->set_json(ImageDetailJson(*image, pinned, /*indented=*/true));
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
