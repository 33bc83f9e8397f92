#include "cri/restore.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"

#include "cri/image_volumes.h"
#include "cri/list_entry.h"
#include "cri/network/plugin_orphans.h"
#include "cri/persist.h"
#include "cri/sandbox_network.h"
#include "cri/shim_events.h"
#include "cri/unknown_objects.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/process.h"

namespace gantry::cri {
namespace {

constexpr size_t kReconnectThreads = 8;

void LoadSandboxes(Node* node, const std::vector<store::SandboxRecord>& records) {
  std::set<std::string> cut_off;
  for (const store::SandboxRecord& record : records)
    if (record.network_intended() && record.cni_result().empty()) cut_off.insert(record.id());
  if (const int ended = EndPluginsOf(cut_off); ended > 0)
    node->log.Warning("CNI plugins of the last daemon were killed",
                      {{"count", std::to_string(ended)}});
  for (const store::SandboxRecord& record : records) {
    if (record.removed()) {
      node->network_debts->Resume(record);
      continue;
    }
    auto config = std::make_shared<v1::PodSandboxConfig>();
    if (!config->ParseFromString(record.config())) {
      node->log.Error("pod record has no readable config, ignoring", {{kPodField, record.id()}});
      continue;
    }
    const std::string name = "pod/" + SandboxName(config->metadata());
    if (const auto taken = node->names.Reserve(name, record.id()); !taken.ok())
      node->log.Error("two pods have one name, ignoring",
                      {{"error", std::string(taken.message())}});
    Sandbox sandbox;
    sandbox.record = record;
    sandbox.config = std::move(config);
    KeepListEntry(&sandbox);
    node->sandboxes.Insert(record.id(), std::move(sandbox));
  }
}

void LoadContainers(Node* node, const std::vector<store::ContainerRecord>& records) {
  for (const store::ContainerRecord& record : records) {
    auto config = std::make_shared<v1::ContainerConfig>();
    const auto sandbox = node->sandboxes.Find(record.sandbox_id());
    const auto cgroup = CgroupPathsFor(node->features.cgroups, record.cgroup_path());
    if (sandbox == nullptr || !config->ParseFromString(record.config()) || !cgroup.ok()) {
      node->log.Error("container record is not usable, ignoring", {{kContainerField, record.id()}});
      continue;
    }
    (void)node->names.Reserve(
        "container/" + ContainerName(config->metadata(), sandbox->config->metadata()), record.id());
    node->images->HoldLayers(record.id(), HeldLayers(record));
    Container container;
    container.record = record;
    container.config = std::move(config);
    container.cgroup = *cgroup;
    KeepListEntry(&container);
    node->containers.Insert(record.id(), std::move(container));
  }
}

void LoseContainersOf(Node* node, const std::string& pod_id, const std::string& why) {
  for (const auto& container : node->containers.List()) {
    if (container->record.sandbox_id() != pod_id || container->exited()) continue;
    node->containers.Update(container->id(),
                            [&why](Container& ended) { RecordLostExit(&ended.record, why); });
    (void)PersistContainer(node, container->id());
  }
}

// Another boot: there is nothing left to end.
void EndPodOfAnotherBoot(Node* node, const std::string& pod_id) {
  const char* const why = "the machine was restarted";
  node->sandboxes.Update(pod_id, [why](Sandbox& sandbox) {
    sandbox.record.set_state(v1::SANDBOX_NOTREADY);
    if (sandbox.record.message().empty()) sandbox.record.set_message(why);
  });
  (void)PersistSandbox(node, pod_id);
  LoseContainersOf(node, pod_id, why);
}

// The shim's pid may have been given to somebody else meanwhile.
UniqueFd ShimPidFd(const shim::proto::HelloReply& hello) {
  auto pidfd = OpenPidFd(hello.shim_pid());
  const auto started = ProcessStartTime(hello.shim_pid());
  if (!pidfd.ok() || !started.ok() || *started != hello.shim_start_time()) return UniqueFd();
  return *std::move(pidfd);
}

void ReconcileContainer(Node* node, const Container& container,
                        const std::map<std::string, shim::proto::ContainerState>& known) {
  const auto found = known.find(container.id());
  if (found == known.end()) {
    // Its creation was cut off before the shim heard of it, or its removal after the shim had
    // forgotten it.
    node->containers.Update(container.id(), [](Container& lost) {
      RecordLostExit(&lost.record, "its creation or removal was cut off by a restart");
    });
    (void)PersistContainer(node, container.id());
    return;
  }
  const shim::proto::ContainerState& state = found->second;
  if (state.has_exit()) {
    (void)NoteContainerExit(node, container.id(),
                            {state.exit().exit_code(), state.exit().finished_at_ns(),
                             state.exit().oom_killed(), state.exit().log_incomplete()});
    return;
  }
  if (state.phase() != shim::proto::PHASE_RUNNING) return;
  node->containers.Update(container.id(), [&state](Container& running) {
    running.record.set_state(v1::CONTAINER_RUNNING);
    running.record.set_started_at_ns(state.started_at_ns());
  });
}

Status Reconnect(Node* node, const std::string& pod_id) {
  const auto sandbox = node->sandboxes.Find(pod_id);
  ASSIGN_OR_RETURN(UniqueFd connection, shim::ConnectSocket(node->PodDirectory(pod_id)));
  shim::proto::HelloReply hello;
  ASSIGN_OR_RETURN(const auto pod_shim, GreetShim(node, pod_id, std::move(connection),
                                                  sandbox->record.events_acknowledged(), &hello));
  pod_shim->pidfd = ShimPidFd(hello);
  node->sandboxes.Update(pod_id, [&pod_shim](Sandbox& changed) { changed.shim = pod_shim; });
  // Its death may have been told when nobody knew yet whose it was.
  if (pod_shim->Ended() || ErrnoOf(ProcessStartTime(hello.shim_pid()).status()) == ENOENT)
    return absl::UnavailableError("it has died");
  std::map<std::string, shim::proto::ContainerState> known;
  for (const auto& state : hello.containers()) known[state.container_id()] = state;
  for (const auto& container : node->containers.List())
    if (container->record.sandbox_id() == pod_id && !container->exited())
      ReconcileContainer(node, *container, known);
  EndUnknownContainers(node, *pod_shim, known);
  return absl::OkStatus();
}

void RestorePod(Node* node, const std::string& pod_id) {
  const auto sandbox = node->sandboxes.Find(pod_id);
  if (sandbox->record.stopped()) {
    // Where the disk had no room for an exit any more, but for the pod's end.
    LoseContainersOf(node, pod_id, "its exit was not recorded before the pod was stopped");
    if (sandbox->record.network_intended()) node->network_debts->Add(pod_id);
    return;
  }
  if (sandbox->record.boot_id() != node->features.boot_id) {
    EndPodOfAnotherBoot(node, pod_id);
    if (sandbox->record.network_intended()) node->network_debts->Add(pod_id);
    return;
  }
  const Status reconnected = Reconnect(node, pod_id);
  if (reconnected.ok()) return;
  node->log.Warning("the pod's shim is gone: its containers are ended",
                    {{kPodField, pod_id}, {"error", std::string(reconnected.message())}});
  EndPodWithoutShim(node, pod_id);
}

// Folders below `directory` that belong to no object: left by a crash between two steps.
void Sweep(const Node& node, const std::string& directory, const std::set<std::string>& known) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (known.count(entry.path().filename()) > 0) continue;
    node.log.Info("removing what belongs to no object", {{"path", entry.path()}});
    std::filesystem::remove_all(entry.path(), error);
  }
}

void SweepLeftovers(Node* node) {
  std::set<std::string> containers;
  for (const auto& container : node->containers.List()) containers.insert(container->id());
  for (const std::string& id : node->snapshots->List())
    if (containers.count(id) == 0) (void)node->snapshots->Remove(id);
  Sweep(*node, node->config.root + "/containers", containers);
}

}  // namespace

void Restore(Node* node) {
  const Store::Contents contents = node->store->LoadAll();
  for (const auto& bad : contents.quarantined)
    node->log.Error("a record could not be read and was set aside",
                    {{"table", bad.table}, {"id", bad.id}, {"reason", bad.reason}});
  if (contents.salvaged.has_value())
    node->log.Error("the database was corrupt: a new one was made of what could be read",
                    {{"rows", absl::StrCat(contents.salvaged->rows)},
                     {"old", contents.salvaged->corrupt_path}});
  LoadSandboxes(node, contents.sandboxes);
  LoadContainers(node, contents.containers);
  EndUnknownPods(node);
  // Layers of pulls that never ended; a retry of the pull within a day still finds them.
  node->images->CollectUnused(std::chrono::hours(24));
  // A hung shim delays the pods behind it by its greeting's timeout, not the others.
  const auto sandboxes = node->sandboxes.List();
  std::atomic<size_t> next{0};
  std::vector<std::thread> threads;
  for (size_t i = 0; i < std::min(kReconnectThreads, sandboxes.size()); ++i)
    threads.emplace_back([&] {
      for (size_t pod = next++; pod < sandboxes.size(); pod = next++)
        RestorePod(node, sandboxes[pod]->id());
    });
  for (std::thread& thread : threads) thread.join();
  SweepLeftovers(node);  // what nobody uses any more
  node->network->CollectGarbageWhenReady([node] { return ValidAttachments(*node); });
}

}  // namespace gantry::cri
