#include "cri/rpc.h"

#include <atomic>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace gantry::cri {

Status Rpc::CancelledStatus(absl::string_view what) const {
  const std::string text = absl::StrCat(what, ": the caller stopped waiting");
  return absl::Now() >= deadline() ? absl::DeadlineExceededError(text) : absl::CancelledError(text);
}

grpc::Status ToGrpc(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  // The numbers of absl::StatusCode are those of gRPC.
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

grpc::Status Serve(const Logger& log, grpc::ServerContext* context, const char* method,
                   const std::string& object, const std::function<Status(const Rpc&)>& body) {
  static std::atomic<uint64_t> next_request{1};
  const Logger request_log =
      log.With({{kRequestField, absl::StrFormat("%x", next_request.fetch_add(1))},
                {"method", method},
                {"object", object}});
  const absl::Time start = absl::Now();
  const Status status = body(Rpc(context, request_log));
  const std::string took = absl::FormatDuration(absl::Now() - start);
  if (status.ok())
    request_log.Debug("done", {{"took", took}});
  else
    request_log.Write(context->IsCancelled() ? LogLevel::kDebug : LogLevel::kWarning, "failed",
                      {{"code", absl::StatusCodeToString(status.code())},
                       {"error", std::string(status.message())},
                       {"took", took}});
  return ToGrpc(status);
}

}  // namespace gantry::cri
