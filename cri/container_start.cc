// StartContainer: one message to the shim; the waiting child calls execve.
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "cri/container_events.h"
#include "cri/container_lookup.h"
#include "cri/container_teardown.h"
#include "cri/patience.h"
#include "cri/persist.h"
#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {
namespace {

constexpr int kStartErrorCode = 128;

// The container ends as EXITED with code 128, reason StartError and the child's own words: what
// kubectl shows.
Status NoteStartError(Node* node, const std::string& id, const Status& cause) {
  node->containers.Update(id, [&cause](Container& container) {
    store::ContainerRecord& record = container.record;
    record.set_state(v1::CONTAINER_EXITED);
    record.set_exit_code(kStartErrorCode);
    record.set_reason("StartError");
    record.set_message(std::string(cause.message()));
    record.set_started_at_ns(0);
    record.set_finished_at_ns(absl::ToUnixNanos(absl::Now()));
    container.starting = false;
  });
  RETURN_IF_ERROR(PersistContainer(node, id));
  if (const auto ended = node->containers.Find(id))
    PublishContainerEvent(node, v1::CONTAINER_STOPPED_EVENT, *ended);
  return cause;
}

// kDeadlineExceeded: it has not ended, and shows as what it is.
Status EndUnanswered(Node* node, const Container& container) {
  if (KillAndAwait(node, container)) return absl::OkStatus();
  node->containers.Update(container.id(), [](Container& c) { c.starting = false; });
  return absl::DeadlineExceededError(
      absl::StrCat("start container \"", container.id(),
                   "\": it does not start, and does not end after SIGKILL"));
}

// The start is told before the end, however short the life: an exit while `starting` is told here.
void TellStarted(Node* node, const std::string& id) {
  if (const auto running = node->containers.Find(id))
    PublishContainerEvent(node, v1::CONTAINER_STARTED_EVENT, *running);
  const auto now = node->containers.Update(id, [](Container& c) { c.starting = false; });
  if (now != nullptr && now->exited())
    PublishContainerEvent(node, v1::CONTAINER_STOPPED_EVENT, *now);
}

Status Start(Node* node, const std::string& given_id) {
  ASSIGN_OR_RETURN(const auto container, FindContainer(*node, given_id));
  const std::string& id = container->id();
  bool mine = false;
  node->containers.Update(id, [&mine](Container& c) {
    mine = c.record.state() == v1::CONTAINER_CREATED && !c.starting && !c.removing;
    c.starting |= mine;
  });
  if (!mine)
    return absl::FailedPreconditionError(
        absl::StrCat("start container \"", id, "\": it is ",
                     v1::ContainerState_Name(static_cast<v1::ContainerState>(container->state())),
                     ", not CONTAINER_CREATED, or being started or removed"));
  const auto shim = ShimOf(*node, *container);
  if (!shim.ok()) return NoteStartError(node, id, shim.status());
  shim::proto::Request request;
  request.mutable_start_container()->set_container_id(id);
  const auto reply = (*shim)->client->Call(request, {}, kShimStartAnswer);
  if (!reply.ok()) {
    // Without an answer it may start yet.
    if (absl::IsDeadlineExceeded(reply.status())) RETURN_IF_ERROR(EndUnanswered(node, *container));
    return NoteStartError(node, id,
                          Annotate(reply.status(), absl::StrCat("start container \"", id, "\"")));
  }
  const int64_t started_at = reply->reply.start_container().started_at_ns();
  node->containers.Update(id, [started_at](Container& c) {
    c.record.set_started_at_ns(started_at);
    if (!c.exited()) c.record.set_state(v1::CONTAINER_RUNNING);  // it may have ended already
  });
  if (const Status stored = PersistContainer(node, id); !stored.ok())
    node->log.Error("start not recorded on disk, ignoring: it is tried again",
                    {{kContainerField, id}, {"error", std::string(stored.message())}});
  TellStarted(node, id);
  return absl::OkStatus();
}

}  // namespace

grpc::Status RuntimeService::StartContainer(grpc::ServerContext* context,
                                            const v1::StartContainerRequest* request,
                                            v1::StartContainerResponse*) {
  const std::string& id = request->container_id();
  return Serve(node_.log, context, "StartContainer", id,
               [&](const Rpc&) -> absl::Status { return Start(&node_, id); });
}

}  // namespace gantry::cri
