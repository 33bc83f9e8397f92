#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "cri/rpc.h"
#include "cri/service.h"
#include "imageservice/image_export.h"

namespace gantry::cri {
namespace {

constexpr size_t kChunk = 1 << 20;

}  // namespace

grpc::Status GantryService::ExportImages(
    grpc::ServerContext* context, const ::gantry::v1::ExportImagesRequest* request,
    grpc::ServerWriter<::gantry::v1::ExportImagesResponse>* writer) {
  return Serve(node_.log, context, "ExportImages", "", [&](const Rpc& rpc) -> Status {
    if (request->images().empty())
      return absl::InvalidArgumentError("export images: none is named");
    images::LayerTarOptions options;
    options.unpacker_binary = node_.unpacker_binary;
    options.cancelled = [&] { return rpc.cancelled() || absl::Now() >= rpc.deadline(); };
    ::gantry::v1::ExportImagesResponse message;
    const auto send = [&]() -> Status {
      if (!writer->Write(message)) return rpc.CancelledStatus("export images");
      message.clear_chunk();
      return absl::OkStatus();
    };
    RETURN_IF_ERROR(images::ExportImages(
        node_.images.get(), {request->images().begin(), request->images().end()}, options,
        [&](absl::string_view bytes) -> Status {
          message.mutable_chunk()->append(bytes.data(), bytes.size());
          return message.chunk().size() < kChunk ? absl::OkStatus() : send();
        }));
    return send();
  });
}

}  // namespace gantry::cri
