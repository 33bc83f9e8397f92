#include "cri/spec/container_spec.h"

#include "absl/strings/str_cat.h"

namespace gantry::cri {
namespace {

std::vector<spec::Namespace> NamespaceSpec(const SpecInput& input) {
  std::vector<spec::Namespace> namespaces = {{"mount", ""}, {"cgroup", ""}};
  bool shares_pid = false;
  for (const std::string& type : JoinedNamespaces(*input.sandbox, *input.container)) {
    namespaces.push_back({type, ""});
    shares_pid |= type == "pid";
  }
  const v1::NamespaceMode pid = NamespacesOf(*input.container).pid();
  const bool hosts_pid =
      pid == v1::NODE || (pid == v1::POD && NamespacesOf(*input.sandbox).pid() == v1::NODE);
  if (!shares_pid && !hosts_pid) namespaces.push_back({"pid", ""});
  return namespaces;
}

}  // namespace

std::vector<std::string> SandboxNamespaces(const v1::PodSandboxConfig& sandbox) {
  const v1::NamespaceOption& options = NamespacesOf(sandbox);
  std::vector<std::string> types;
  if (HasUserNamespace(options)) types.emplace_back("user");
  if (options.network() != v1::NODE) {
    types.emplace_back("network");
    types.emplace_back("uts");  // the host's name belongs to whoever uses the host's network
  }
  if (options.ipc() != v1::NODE) types.emplace_back("ipc");
  if (options.pid() == v1::POD) types.emplace_back("pid");
  return types;
}

std::vector<std::string> JoinedNamespaces(const v1::PodSandboxConfig& sandbox,
                                          const v1::ContainerConfig& container) {
  std::vector<std::string> types = SandboxNamespaces(sandbox);
  if (NamespacesOf(container).pid() != v1::POD) std::erase(types, "pid");
  return types;
}

StatusOr<spec::Spec> ContainerSpec(const SpecInput& input) {
  spec::Spec spec;
  ASSIGN_OR_RETURN(spec.process, ProcessSpec(input));
  ASSIGN_OR_RETURN(spec.mounts, MountSpec(input));
  const auto& security = input.container->linux().security_context();
  spec.root.readonly = security.readonly_rootfs();
  spec.linux_.cgroups_path = input.cgroup_path;
  spec.linux_.namespaces = NamespaceSpec(input);
  const runtime::IdMaps maps = IdMapsOf(NamespacesOf(*input.sandbox));
  spec.linux_.uid_mappings = maps.uids;
  spec.linux_.gid_mappings = maps.gids;
  // Slave, so that a mount the host makes later below a HostToContainer mount shows inside; what is
  // private is made so mount by mount.
  spec.linux_.rootfs_propagation = "rslave";
  for (const auto& mount : input.container->mounts()) {
    if (mount.propagation() == v1::PROPAGATION_BIDIRECTIONAL)
      spec.linux_.rootfs_propagation = "rshared";
  }
  RETURN_IF_ERROR(AddSecurity(input, &spec));
  RETURN_IF_ERROR(AddResources(input, &spec));
  return spec;
}

}  // namespace gantry::cri
