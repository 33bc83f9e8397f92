#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "cri/image_credentials.h"
#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {
namespace {

::gantry::v1::PullImageResponse ProgressMessage(const images::PullProgress& progress) {
  ::gantry::v1::PullImageResponse message;
  message.set_stage(progress.stage);
  for (const images::LayerProgress& layer : progress.layers) {
    ::gantry::v1::LayerProgress* entry = message.add_layers();
    entry->set_digest(layer.digest);
    entry->set_total(layer.total);
    entry->set_done(layer.done);
    entry->set_already_here(layer.already_here);
    entry->set_complete(layer.complete);
  }
  return message;
}

}  // namespace

grpc::Status GantryService::PullImage(grpc::ServerContext* context,
                                      const ::gantry::v1::PullImageRequest* request,
                                      grpc::ServerWriter<::gantry::v1::PullImageResponse>* writer) {
  return Serve(node_.log, context, "PullImage", request->image(), [&](const Rpc& rpc) -> Status {
    bool broken = false;  // nobody reads the stream any more
    const auto gone = [&] { return broken || rpc.cancelled() || absl::Now() >= rpc.deadline(); };
    images::PullProgress last;
    images::PullRequest pull;
    pull.reference = request->image();
    pull.credentials = CredentialsOf(request->credentials());
    pull.cancelled = gone;
    pull.progress = [&](const images::PullProgress& progress) {
      last = progress;
      broken = broken || !writer->Write(ProgressMessage(progress));
    };
    const auto image = node_.puller->Pull(pull);
    const std::string what = absl::StrCat("pull image \"", request->image(), "\"");
    if (!image.ok() && absl::IsCancelled(image.status()) && gone())
      return rpc.CancelledStatus(what);
    if (!image.ok()) return image.status();
    last.stage = "done";
    ::gantry::v1::PullImageResponse message = ProgressMessage(last);
    message.set_image_id((*image)->id);
    return writer->Write(message) ? absl::OkStatus() : rpc.CancelledStatus(what);
  });
}

}  // namespace gantry::cri
