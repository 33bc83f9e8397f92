#include "cri/pod_user_namespace.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"

#include "cri/spec/container_spec.h"
#include "runtime/id_maps.h"

namespace gantry::cri {
namespace {

Status TryUserNamespaces(const Node& node) {
  // Any mapping will do; this is the first that the kubelet gives.
  const runtime::IdMaps maps{{{0, 65536, 65536}}, {{0, 65536, 65536}}};
  ASSIGN_OR_RETURN(const UniqueFd user_namespace, runtime::MakeUserNamespace(maps));
  return node.snapshots->ProbeIdMap(user_namespace.get());
}

}  // namespace

void ProbeUserNamespaces(Node* node) {
  const Status tried = TryUserNamespaces(*node);
  node->features.user_namespaces = tried.ok();
  node->features.no_user_namespaces_because = std::string(tried.message());
  if (!tried.ok())
    node->log.Info("pods cannot have user namespaces of their own here",
                   {{"reason", std::string(tried.message())}});
}

Status CheckIdsAreFree(const Node& node, const std::string& sandbox_id) {
  const auto own = node.sandboxes.Find(sandbox_id);
  const runtime::IdMaps ids = IdMapsOf(NamespacesOf(*own->config));
  if (ids.empty()) return absl::OkStatus();
  for (const auto& other : node.sandboxes.List()) {
    if (other->record.created_at_ns() >= own->record.created_at_ns() || other->record.stopped() ||
        other->config->metadata().uid() == own->config->metadata().uid())
      continue;
    if (!SharesIds(ids, IdMapsOf(NamespacesOf(*other->config)))) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("userns_options: the mapping overlaps the ids of pod \"",
                     SandboxName(other->config->metadata()), "\", which has not been stopped"));
  }
  return absl::OkStatus();
}

Status GivePodFiles(const std::string& pod_directory, const v1::PodSandboxConfig& config) {
  const runtime::IdMaps maps = IdMapsOf(NamespacesOf(config));
  if (maps.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const runtime::HostOwner owner, runtime::HostRoot(maps));
  for (const char* name : {"hosts", "hostname", "resolv.conf", "shm"}) {
    const std::string path = absl::StrCat(pod_directory, "/", name);
    const bool host_ipc = NamespacesOf(config).ipc() == v1::NODE;
    if (host_ipc && std::string(name) == "shm") continue;
    if (lchown(path.c_str(), owner.uid, owner.gid) != 0) return SyscallError("chown", path);
  }
  return absl::OkStatus();
}

}  // namespace gantry::cri
