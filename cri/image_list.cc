#include <memory>
#include <vector>

#include "cri/image_message.h"
#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {
namespace {

using ImageList = std::vector<std::shared_ptr<const images::Image>>;

// Keeps a message of long-named images well below the clients' limit of 16 MiB.
constexpr int kImagesPerMessage = 1000;

// All images, or the one that the filter names.
StatusOr<ImageList> SelectImages(const images::ImageStore& store, const v1::ImageFilter& filter) {
  const std::string& name = filter.image().image();
  if (name.empty()) return store.List();
  ASSIGN_OR_RETURN(std::shared_ptr<const images::Image> image, store.Find(name));
  ImageList selected;
  if (image != nullptr) selected.push_back(std::move(image));
  return selected;
}

}  // namespace

grpc::Status ImageService::ListImages(grpc::ServerContext* context,
                                      const v1::ListImagesRequest* request,
                                      v1::ListImagesResponse* response) {
  const std::string& name = request->filter().image().image();
  return Serve(node_.log, context, "ListImages", name, [&](const Rpc&) -> Status {
    ASSIGN_OR_RETURN(const ImageList selected, SelectImages(*node_.images, request->filter()));
    for (const auto& image : selected)
      *response->add_images() = ImageMessage(*image, node_.config.image.pinned_images);
    return absl::OkStatus();
  });
}

grpc::Status ImageService::StreamImages(grpc::ServerContext* context,
                                        const v1::StreamImagesRequest* request,
                                        grpc::ServerWriter<v1::StreamImagesResponse>* writer) {
  const std::string& name = request->filter().image().image();
  return Serve(node_.log, context, "StreamImages", name, [&](const Rpc& rpc) -> Status {
    ASSIGN_OR_RETURN(const ImageList selected, SelectImages(*node_.images, request->filter()));
    v1::StreamImagesResponse message;
    for (size_t i = 0; i < selected.size(); ++i) {
      *message.add_images() = ImageMessage(*selected[i], node_.config.image.pinned_images);
      if (message.images_size() < kImagesPerMessage && i + 1 < selected.size()) continue;
      if (!writer->Write(message)) return rpc.CancelledStatus("list images");
      message.clear_images();
    }
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
