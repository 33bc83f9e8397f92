// The edge of every RPC: a request id, one log line at the end, and our Status made into gRPC's.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <string>

#include "absl/time/time.h"

#include "cri/log.h"
#include "runtime/base/status.h"

namespace gantry::cri {

// What an RPC's own function is given: who called, and when the caller stops waiting.
class Rpc {
 public:
  Rpc(grpc::ServerContext* context, Logger log) : context_(context), log_(std::move(log)) {}
  [[nodiscard]] const Logger& log() const { return log_; }
  [[nodiscard]] bool cancelled() const { return context_->IsCancelled(); }
  // absl::InfiniteFuture() when the caller gave none.
  [[nodiscard]] absl::Time deadline() const { return absl::FromChrono(context_->deadline()); }
  // kDeadlineExceeded or kCancelled, as the caller has it.
  [[nodiscard]] Status CancelledStatus(absl::string_view what) const;

 private:
  grpc::ServerContext* context_;
  Logger log_;
};

// Runs `body` and logs its failure once, with `method` and the object's id: as a warning, or as
// debug when the caller has gone. Success is logged at debug.
grpc::Status Serve(const Logger& log, grpc::ServerContext* context, const char* method,
                   const std::string& object, const std::function<Status(const Rpc&)>& body);

grpc::Status ToGrpc(const Status& status);

}  // namespace gantry::cri
