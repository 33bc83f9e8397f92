#include "absl/strings/str_cat.h"

#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {

// Removes the image with all its names, whichever one was given. Layers that containers use stay
// until these are gone: the store keeps them.
grpc::Status ImageService::RemoveImage(grpc::ServerContext* context,
                                       const v1::RemoveImageRequest* request,
                                       v1::RemoveImageResponse*) {
  const std::string& name = request->image().image();
  return Serve(node_.log, context, "RemoveImage", name, [&](const Rpc&) -> Status {
    return Annotate(node_.images->Remove(name), absl::StrCat("remove image \"", name, "\""));
  });
}

}  // namespace gantry::cri
