// The connection to gantryd: stubs of its three services, and errors that a person can act on.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "cri/proto/gantry.grpc.pb.h"
#include "cri/proto/runtime.grpc.pb.h"
#include "runtime/base/status.h"

namespace gantry::cli {

inline constexpr int kOwnFailure =
    125;  // the exit code of what failed before a container could, as docker's

namespace api = ::runtime::v1;
namespace own = ::gantry::v1;

inline constexpr char kDefaultSocket[] = "unix:///run/gantry/gantry.sock";

class Client {
 public:
  // `socket`: unix:///path or a path. kUnavailable, with what to do, when nobody listens there or
  // we may not connect.
  static StatusOr<std::unique_ptr<Client>> Connect(const std::string& socket);

  api::RuntimeService::Stub& runtime() { return *runtime_; }
  api::ImageService::Stub& images() { return *images_; }
  own::Gantry::Stub& gantry() { return *gantry_; }

 private:
  explicit Client(const std::shared_ptr<grpc::Channel>& channel);

  std::unique_ptr<api::RuntimeService::Stub> runtime_;
  std::unique_ptr<api::ImageService::Stub> images_;
  std::unique_ptr<own::Gantry::Stub> gantry_;
};

// gRPC's status as ours: "<what>: <the daemon's message>".
Status FromRpc(const grpc::Status& status, absl::string_view what);

// For calls that answer from memory; those that wait for containers or registries take their own.
inline constexpr absl::Duration kQueryLimit = absl::Seconds(30);

// One unary call: Call<Response>("stop container \"a\"", [&](auto* context, auto* response) {
// return client.runtime().StopContainer(context, request, response); }).
template <typename Response, typename Rpc>
StatusOr<Response> Call(absl::string_view what, Rpc rpc, absl::Duration limit = kQueryLimit) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + limit));
  Response response;
  const Status status = FromRpc(rpc(&context, &response), what);
  if (!status.ok()) return status;
  return response;
}

// The exit code of the command itself: 125 unless the status carries another one (126: a command
// that cannot be executed, 127: one that does not exist).
Status WithExitCode(Status status, int code);
int ExitCodeOf(const Status& status);

}  // namespace gantry::cli
