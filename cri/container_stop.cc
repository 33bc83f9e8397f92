// StopContainer: the stop signal, the grace period, SIGKILL. Every caller keeps its own deadline,
// so that a retry with a shorter one wins; the signal is sent once.
#include "absl/strings/str_cat.h"

#include "cri/container_lookup.h"
#include "cri/container_teardown.h"
#include "cri/patience.h"
#include "cri/rpc.h"
#include "cri/service.h"
#include "cri/stop_signal.h"

namespace gantry::cri {
namespace {

// SIGKILL cannot be ignored, but a process in uninterruptible sleep ends only when its file system
// answers.
constexpr absl::Duration kUnkillableDeadline = absl::Seconds(90);

Status SendStopSignal(Node* node, const Container& container) {
  bool mine = false;
  node->containers.Update(container.id(), [&mine](Container& c) {
    mine = !c.stop_signal_sent;
    c.stop_signal_sent = true;
  });
  if (!mine) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto shim, ShimOf(*node, container));
  shim::proto::Request request;
  request.mutable_signal_container()->set_container_id(container.id());
  request.mutable_signal_container()->set_signal(
      KernelSignal(static_cast<v1::Signal>(container.record.stop_signal())));
  return shim->client->Call(request, {}, kShimAnswer).status();
}

Status Stop(Node* node, const Rpc& rpc, const Container& container, int64_t timeout_seconds) {
  const std::string& id = container.id();
  const auto ended = [](const Container& c) { return c.exited(); };
  const auto cancelled = [&rpc] { return rpc.cancelled(); };
  // A container that was never started has nobody to listen to a signal.
  if (timeout_seconds > 0 && container.state() == v1::CONTAINER_RUNNING) {
    const Deadline grace_ends = Deadline::After(absl::Seconds(timeout_seconds));
    if (const Status sent = SendStopSignal(node, container); !sent.ok())
      rpc.log().Warning("stop signal not sent, ignoring: SIGKILL follows",
                        {{"error", std::string(sent.message())}});
    else if (node->containers.WaitUntil(id, ended, grace_ends, cancelled))
      return absl::OkStatus();
    if (rpc.cancelled()) return rpc.CancelledStatus(absl::StrCat("stop container \"", id, "\""));
  }
  KillContainer(node, container);
  if (node->containers.WaitUntil(id, ended, Deadline::After(kUnkillableDeadline), cancelled))
    return absl::OkStatus();
  if (rpc.cancelled()) return rpc.CancelledStatus(absl::StrCat("stop container \"", id, "\""));
  return absl::DeadlineExceededError(
      absl::StrCat("stop container \"", id, "\": it does not end after SIGKILL"));
}

}  // namespace

grpc::Status RuntimeService::StopContainer(grpc::ServerContext* context,
                                           const v1::StopContainerRequest* request,
                                           v1::StopContainerResponse*) {
  const std::string& id = request->container_id();
  return Serve(node_.log, context, "StopContainer", id, [&](const Rpc& rpc) -> absl::Status {
    ASSIGN_OR_RETURN(const auto container, node_.containers.FindByPrefix(id));
    // Unknown or ended is stopped: CRI's idempotence.
    if (container == nullptr || container->exited()) return absl::OkStatus();
    return Stop(&node_, rpc, *container, request->timeout());
  });
}

}  // namespace gantry::cri
