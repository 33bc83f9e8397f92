#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "cri/image_credentials.h"
#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {
namespace {

void FillResponse(const images::PullExplanation& explanation,
                  ::gantry::v1::ExplainImageResponse* response) {
  for (const images::ExplainedDecision& decision : explanation.decisions) {
    auto* entry = response->add_decisions();
    entry->set_subject(decision.subject);
    entry->set_text(decision.text);
  }
  for (const images::ExplainedLayer& layer : explanation.layers) {
    auto* entry = response->add_layers();
    entry->set_digest(layer.digest);
    entry->set_media_type(layer.media_type);
    entry->set_size(layer.size);
    entry->set_present(layer.present);
  }
  response->set_code(static_cast<int32_t>(explanation.outcome.code()));
  response->set_error(std::string(explanation.outcome.message()));
}

}  // namespace

grpc::Status GantryService::ExplainImage(grpc::ServerContext* context,
                                         const ::gantry::v1::ExplainImageRequest* request,
                                         ::gantry::v1::ExplainImageResponse* response) {
  return Serve(node_.log, context, "ExplainImage", request->image(), [&](const Rpc& rpc) -> Status {
    images::PullRequest pull;
    pull.reference = request->image();
    pull.credentials = CredentialsOf(request->credentials());
    pull.cancelled = [&] { return rpc.cancelled() || absl::Now() >= rpc.deadline(); };
    const auto explanation = node_.puller->Explain(pull);
    if (absl::IsCancelled(explanation.status()) && pull.cancelled())
      return rpc.CancelledStatus(absl::StrCat("explain image \"", request->image(), "\""));
    RETURN_IF_ERROR(explanation.status());
    FillResponse(*explanation, response);
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
