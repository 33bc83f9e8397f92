// GetContainerEvents: a stream that ends when the client goes, falls behind or the daemon ends.
#include "cri/container_events.h"

#include "cri/rpc.h"
#include "cri/service.h"

namespace gantry::cri {
namespace {

v1::ContainerEventResponse EventOf(const Node& node, v1::ContainerEventType type,
                                   const Sandbox& sandbox) {
  v1::ContainerEventResponse event;
  event.set_container_event_type(type);
  *event.mutable_pod_sandbox_status() = SandboxStatusMessage(sandbox);
  for (const auto& container : node.containers.List())
    if (container->claimed && container->record.sandbox_id() == sandbox.id())
      *event.add_containers_statuses() = ContainerStatusMessage(*container);
  return event;
}

}  // namespace

void PublishContainerEvent(Node* node, v1::ContainerEventType type, const Container& container) {
  if (!container.claimed || !node->feed.HasSubscribers()) return;
  const auto sandbox = node->sandboxes.Find(container.record.sandbox_id());
  if (sandbox == nullptr) return;
  v1::ContainerEventResponse event = EventOf(*node, type, *sandbox);
  event.set_container_id(container.id());
  node->feed.Publish(std::move(event));
}

void PublishSandboxEvent(Node* node, v1::ContainerEventType type, const Sandbox& sandbox) {
  if (!sandbox.claimed || !node->feed.HasSubscribers()) return;
  v1::ContainerEventResponse event = EventOf(*node, type, sandbox);
  event.set_container_id(sandbox.id());
  node->feed.Publish(std::move(event));
}

grpc::Status RuntimeService::GetContainerEvents(
    grpc::ServerContext* context, const v1::GetEventsRequest*,
    grpc::ServerWriter<v1::ContainerEventResponse>* writer) {
  return Serve(node_.log, context, "GetContainerEvents", "", [&](const Rpc& rpc) -> absl::Status {
    const auto subscription = node_.feed.Subscribe();
    // The client learns that it is heard from here on, before the first event.
    writer->SendInitialMetadata();
    while (const EventFeed::Event event = subscription->Next([&rpc] { return rpc.cancelled(); }))
      if (!writer->Write(*event)) return absl::OkStatus();
    if (subscription->dropped())
      return absl::ResourceExhaustedError(
          "the events were not read fast enough: list the pods, then subscribe again");
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
