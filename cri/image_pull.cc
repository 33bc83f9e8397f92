#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "cri/image_credentials.h"
#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {
namespace {

// The kubelet tells an unreachable registry by this prefix, which its client leaves at the front
// of the text for code Unknown alone (k8s.io/cri-api pkg/errors, k8s.io/cri-client
// remote_image.go).
Status ForKubelet(const Status& status) {
  if (!absl::StartsWith(status.message(), "RegistryUnavailable")) return status;
  return absl::UnknownError(status.message());
}

}  // namespace

grpc::Status ImageService::PullImage(grpc::ServerContext* context,
                                     const v1::PullImageRequest* request,
                                     v1::PullImageResponse* response) {
  const std::string& name = request->image().image();
  return Serve(node_.log, context, "PullImage", name, [&](const Rpc& rpc) -> Status {
    // The transport may notice a deadline later than the clock does.
    const auto gone = [&] { return rpc.cancelled() || absl::Now() >= rpc.deadline(); };
    images::PullRequest pull;
    pull.reference = name;
    pull.credentials = CredentialsOf(request->auth());
    pull.cancelled = gone;
    const auto image = node_.puller->Pull(pull);
    if (!image.ok() && absl::IsCancelled(image.status()) && gone())
      return rpc.CancelledStatus(absl::StrCat("pull image \"", name, "\""));
    if (!image.ok()) return ForKubelet(image.status());
    response->set_image_ref((*image)->id);
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
