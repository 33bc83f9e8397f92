#include "cri/shim_events.h"

#include <csignal>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "cri/container_events.h"
#include "cri/patience.h"
#include "cri/persist.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/process.h"
#include "shim/journal.h"

namespace gantry::cri {
namespace {

constexpr char kShimDied[] = "the pod's shim has died";
constexpr char kInitDied[] = "PID 1 of the pod's shared PID namespace has died";

ContainerExit ExitOf(const shim::proto::ExitRecord& record) {
  return {record.exit_code(), record.finished_at_ns(), record.oom_killed(),
          record.log_incomplete()};
}

void Acknowledge(Node* node, const std::string& pod_id, uint64_t sequence) {
  const auto sandbox = node->sandboxes.Find(pod_id);
  if (sandbox == nullptr || sandbox->shim == nullptr) return;
  shim::proto::Request request;
  request.mutable_acknowledge_events()->set_sequence(sequence);
  if (const auto reply = sandbox->shim->client->Call(request, {}, kShimAnswer); !reply.ok())
    node->log.Debug("event not acknowledged, ignoring: it will be replayed",
                    {{kPodField, pod_id}, {"error", std::string(reply.status().message())}});
}

// A PID namespace without its init takes no process any more: the kubelet has to make another pod.
Status NoteInitDeath(Node* node, const std::string& pod_id) {
  const auto sandbox = node->sandboxes.Find(pod_id);
  // It is being stopped. One that is found again is READY before its shim is known.
  if (sandbox == nullptr || (!sandbox->ready() && sandbox->shim == nullptr))
    return absl::OkStatus();
  node->log.Error("PID 1 of the pod has died: the pod is not ready", {{kPodField, pod_id}});
  bool was_ready = false;
  const auto ended = node->sandboxes.Update(pod_id, [&was_ready](Sandbox& pod) {
    was_ready = pod.ready();
    pod.died = kInitDied;
    if (!was_ready) return;  // RunPodSandbox will see it
    pod.record.set_state(v1::SANDBOX_NOTREADY);
    pod.record.set_message(kInitDied);
  });
  if (!was_ready) return absl::OkStatus();
  Status stored = PersistSandbox(node, pod_id);
  if (ended != nullptr) PublishSandboxEvent(node, v1::CONTAINER_STOPPED_EVENT, *ended);
  return stored;
}

void HandleEvent(Node* node, const std::string& pod_id, const shim::proto::Event& event) {
  bool recorded = true;
  if (event.has_exited())
    recorded = NoteContainerExit(node, event.container_id(), ExitOf(event.exited())).ok();
  if (event.has_oom())
    node->log.Warning("a process of a container was killed for lack of memory",
                      {{kPodField, pod_id}, {kContainerField, event.container_id()}});
  if (event.has_init_exited()) recorded = NoteInitDeath(node, pod_id).ok();
  if (!recorded) return;  // the shim keeps it
  node->sandboxes.Update(pod_id, [&event](Sandbox& changed) {
    changed.record.set_events_acknowledged(event.sequence());
  });
  const uint64_t sequence = event.sequence();
  node->background->Post([node, pod_id, sequence] { Acknowledge(node, pod_id, sequence); });
}

// The exit that the shim had time to write down, else one that nobody saw.
void EndContainer(Node* node, const Container& container, const shim::JournalContents& journal) {
  (void)KillCgroup(container.cgroup);
  const auto known = journal.containers.find(container.id());
  if (known != journal.containers.end() && known->second.has_exit()) {
    (void)NoteContainerExit(node, container.id(), ExitOf(known->second.exit()));
    return;
  }
  const auto lost = node->containers.Update(
      container.id(), [](Container& ended) { RecordLostExit(&ended.record, kShimDied); });
  node->streaming->EndSessions(container.id());
  node->statistics->Forget(container.id());
  (void)PersistContainer(node, container.id());
  if (lost != nullptr) PublishContainerEvent(node, v1::CONTAINER_STOPPED_EVENT, *lost);
}

}  // namespace

StatusOr<std::shared_ptr<PodShim>> GreetShim(Node* node, const std::string& pod_id,
                                             UniqueFd connection, uint64_t events_since,
                                             shim::proto::HelloReply* hello) {
  auto pod_shim = std::make_shared<PodShim>();
  shim::Handlers handlers;
  handlers.on_event = [node, pod_id](const shim::proto::Event& event) {
    node->events->Post([node, pod_id, event] { HandleEvent(node, pod_id, event); });
  };
  handlers.on_disconnect = [node, pod_id] {
    node->events->Post([node, pod_id] { NoteShimDeath(node, pod_id); });
  };
  pod_shim->client = node->reactor->Add(std::move(connection), std::move(handlers));
  shim::proto::Request request;
  request.mutable_hello()->set_version(shim::kProtocolVersion);
  request.mutable_hello()->set_events_since(events_since);
  ASSIGN_OR_RETURN_CONTEXT(const auto reply, pod_shim->client->Call(request, {}, kShimAnswer),
                           absl::StrCat("greet the shim of pod \"", pod_id, "\""));
  if (hello != nullptr) *hello = reply.reply.hello();
  return pod_shim;
}

Status NoteContainerExit(Node* node, const std::string& container_id, const ContainerExit& exit) {
  const auto before = node->containers.Find(container_id);
  if (before == nullptr || before->exited()) return absl::OkStatus();
  const auto ended = node->containers.Update(container_id, [&exit](Container& container) {
    if (!container.exited()) RecordExit(&container.record, exit);
  });
  if (ended == nullptr) return absl::OkStatus();
  node->streaming->EndSessions(container_id);
  node->statistics->Forget(container_id);
  // Until this is on disk the shim keeps the event: a crash in between replays the very same exit.
  Status stored = PersistContainer(node, container_id);
  if (!stored.ok())
    node->log.Error("exit not recorded on disk, ignoring: it is tried again, and the shim has it",
                    {{kContainerField, container_id}, {"error", std::string(stored.message())}});
  // Else StartContainer tells, after the start.
  if (!ended->starting) PublishContainerEvent(node, v1::CONTAINER_STOPPED_EVENT, *ended);
  node->log.Info("container exited", {{kContainerField, container_id},
                                      {"code", absl::StrCat(exit.exit_code)},
                                      {"reason", ended->record.reason()}});
  return stored;
}

void NoteShimDeath(Node* node, const std::string& pod_id) {
  const auto sandbox = node->sandboxes.Find(pod_id);
  if (sandbox == nullptr || sandbox->shim == nullptr) return;
  node->log.Error("the pod's shim has died: its containers are ended", {{kPodField, pod_id}});
  // It has closed its connection: it is of no more use.
  sandbox->shim->End(absl::ZeroDuration());
  EndPodWithoutShim(node, pod_id);
}

void EndPodWithoutShim(Node* node, const std::string& pod_id) {
  // First of all: with the pod told dead, its folder may go.
  const auto journal =
      shim::ReadJournal(node->PodDirectory(pod_id)).value_or(shim::JournalContents());
  const auto pod_ended = node->sandboxes.Update(pod_id, [](Sandbox& pod) {
    pod.shim = nullptr;
    pod.died = kShimDied;
    pod.record.set_state(v1::SANDBOX_NOTREADY);
    pod.record.set_message(kShimDied);
  });
  node->statistics->Forget(pod_id);
  if (!PersistSandbox(node, pod_id).ok())
    node->log.Warning("pod state not recorded, ignoring", {{kPodField, pod_id}});
  // One that hangs would go on when nobody expects it any more; gantry-init outlives its shim.
  for (const shim::JournalProcess& process : {journal.shim, journal.init})
    (void)SignalProcess(process.pid, process.start_time, SIGKILL);
  for (const auto& container : node->containers.List())
    if (container->record.sandbox_id() == pod_id && !container->exited())
      EndContainer(node, *container, journal);
  if (pod_ended != nullptr) PublishSandboxEvent(node, v1::CONTAINER_STOPPED_EVENT, *pod_ended);
}

}  // namespace gantry::cri
