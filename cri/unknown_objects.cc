#include "cri/unknown_objects.h"

#include <fcntl.h>
#include <sys/mount.h>

#include <csignal>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "cri/network/netns.h"
#include "cri/patience.h"
#include "cri/shim_events.h"
#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"
#include "shim/journal.h"

namespace gantry::cri {
namespace {

// The cgroup of a container's process, by its path in /proc/PID/cgroup: only one that is named
// after the container. Empty: it has none, or is gone.
std::string CgroupOf(const shim::proto::ContainerState& container) {
  const auto text = ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", container.pid(), "/cgroup"));
  if (!text.ok()) return "";
  for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() == 3 &&
        absl::EndsWith(fields[2], absl::StrCat("-", container.container_id())))
      return std::string(fields[2]);
  }
  return "";
}

void RemoveGroups(Node* node, const std::set<std::string>& paths) {
  for (const std::string& path : paths) {
    const auto group = CgroupPathsFor(node->features.cgroups, path);
    const Status removed = group.ok() ? RemoveCgroup(*group, kCgroupPatience) : group.status();
    if (!removed.ok())
      node->log.Warning("a cgroup is left, ignoring",
                        {{"cgroup", path}, {"error", std::string(removed.message())}});
  }
}

// The cgroups that have the names of these containers, and that of the pod where it was ours.
std::set<std::string> GroupsOf(const std::string& pod_id,
                               const std::map<std::string, shim::proto::ContainerState>& known) {
  std::set<std::string> groups;
  for (const auto& [id, state] : known) {
    const std::string path = CgroupOf(state);
    if (path.empty()) continue;
    groups.insert(path);
    const std::string parent = path.substr(0, path.rfind('/'));
    if (absl::EndsWith(parent, "/" + pod_id)) groups.insert(parent);
  }
  return groups;
}

Status ShutDown(Node* node, const std::string& pod_id) {
  ASSIGN_OR_RETURN(UniqueFd connection, shim::ConnectSocket(node->PodDirectory(pod_id)));
  ASSIGN_OR_RETURN(const auto shim, GreetShim(node, pod_id, std::move(connection), 0, nullptr));
  shim::proto::Request request;
  request.mutable_shutdown();
  return shim->client->Call(request, {}, kKillDeadline).status();
}

// What can be ended by the journal alone.
void Kill(const shim::JournalContents& journal) {
  for (const shim::JournalProcess& process : {journal.shim, journal.init, journal.pump})
    (void)SignalProcess(process.pid, process.start_time, SIGKILL);
  for (const auto& [id, state] : journal.containers)
    (void)SignalProcess(state.pid(), state.pid_start_time(), SIGKILL);
}

void EndUnknownPod(Node* node, const std::string& id) {
  const std::string directory = node->PodDirectory(id);
  const auto journal = shim::ReadJournal(directory).value_or(shim::JournalContents());
  const std::set<std::string> groups = GroupsOf(id, journal.containers);
  const Status ended = ShutDown(node, id);
  node->log.Error("a pod that is in no record is ended",
                  {{kPodField, id},
                   {"containers", absl::StrCat(journal.containers.size())},
                   {"shim", std::string(ended.ok() ? "ended" : ended.message())}});
  if (!ended.ok()) Kill(journal);
  RemoveGroups(node, groups);
  (void)umount2((directory + "/shm").c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  if (const Status unpinned = UnpinNetns(absl::StrCat(node->config.state, "/netns/", id));
      !unpinned.ok())
    node->log.Warning("its network namespace is left, ignoring",
                      {{kPodField, id}, {"error", std::string(unpinned.message())}});
  std::error_code error;
  std::filesystem::remove_all(directory, error);
}

}  // namespace

void EndUnknownPods(Node* node) {
  std::set<std::string> unknown;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(node->config.state + "/pods", error)) {
    const std::string id = entry.path().filename();
    if (node->sandboxes.Find(id) == nullptr) unknown.insert(id);
  }
  for (const std::string& id : unknown) EndUnknownPod(node, id);
}

void EndUnknownContainers(Node* node, const PodShim& shim,
                          const std::map<std::string, shim::proto::ContainerState>& known) {
  for (const auto& [id, state] : known) {
    if (node->containers.Find(id) != nullptr) continue;
    const std::string group = CgroupOf(state);
    shim::proto::Request request;
    request.mutable_delete_container()->set_container_id(id);
    const auto reply = shim.client->Call(request, {}, kKillDeadline);
    node->log.Error("a container that is in no record is ended",
                    {{kContainerField, id},
                     {"shim", std::string(reply.ok() ? "ended it" : reply.status().message())}});
    if (!group.empty()) RemoveGroups(node, {group});
  }
}

}  // namespace gantry::cri
