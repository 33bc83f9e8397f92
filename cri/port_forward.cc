// PortForward: a URL now, sockets in the pod's network when a client comes to it.
#include <utility>

#include "absl/strings/str_cat.h"

#include "cri/rpc.h"
#include "cri/sandbox_lookup.h"
#include "cri/service.h"

namespace gantry::cri {
namespace {

// Each socket asks again: the pod may have been stopped meanwhile.
streaming::PodSockets SocketsOf(Node* node, const std::string& id) {
  return [node, id](int family) -> StatusOr<UniqueFd> {
    const auto sandbox = node->sandboxes.Find(id);
    if (sandbox == nullptr || !sandbox->ready())
      return absl::FailedPreconditionError(
          absl::StrCat("network namespace for sandbox \"", id, "\" is closed"));
    return streaming::SocketInNetwork(sandbox->record.netns_path(), family);
  };
}

Status Prepare(Node* node, const v1::PortForwardRequest& request,
               v1::PortForwardResponse* response) {
  ASSIGN_OR_RETURN(const auto sandbox, FindSandbox(*node, request.pod_sandbox_id()));
  if (!sandbox->ready())
    return absl::FailedPreconditionError(
        absl::StrCat("pod sandbox \"", sandbox->id(), "\" is not running"));
  std::vector<uint16_t> ports;
  for (const int32_t port : request.port()) {
    if (port < 1 || port > UINT16_MAX)
      return absl::InvalidArgumentError(absl::StrCat("port: ", port, " is none"));
    ports.push_back(static_cast<uint16_t>(port));
  }
  constexpr size_t kMaxPorts = 100;  // two channels each, and a channel is a byte
  if (ports.size() > kMaxPorts)
    return absl::InvalidArgumentError(absl::StrCat("port: more than ", kMaxPorts));
  ASSIGN_OR_RETURN(*response->mutable_url(),
                   node->streaming->PortForwardUrl(sandbox->id(), std::move(ports),
                                                   SocketsOf(node, sandbox->id())));
  return absl::OkStatus();
}

}  // namespace

grpc::Status RuntimeService::PortForward(grpc::ServerContext* context,
                                         const v1::PortForwardRequest* request,
                                         v1::PortForwardResponse* response) {
  return Serve(node_.log, context, "PortForward", request->pod_sandbox_id(),
               [&](const Rpc&) -> absl::Status { return Prepare(&node_, *request, response); });
}

}  // namespace gantry::cri
