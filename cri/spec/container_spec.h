// The OCI spec of a container: a pure function of what CRI asked for, the image and the node.
//
//   ContainerSpec = process (process_spec.cc) + mounts (mount_spec.cc) + security
//   (security_spec.cc)
//                   + resources and devices (resource_spec.cc) + namespaces
#pragma once

#include <set>
#include <string>
#include <vector>

#include "cri/api.h"
#include "cri/spec/user.h"
#include "cri/spec/user_namespace.h"
#include "imageservice/image.h"
#include "runtime/base/status.h"
#include "runtime/spec/spec.h"

namespace gantry::cri {

// A folder of ours that stands in for a VOLUME of the image.
struct VolumeMount {
  std::string container_path;
  std::string host_path;
};

// Everything is borrowed for the time of the call.
struct SpecInput {
  const v1::PodSandboxConfig* sandbox = nullptr;
  const v1::ContainerConfig* container = nullptr;
  const images::ImageConfig* image = nullptr;
  const ResolvedUser* user = nullptr;
  std::string hostname;
  std::string pod_directory;  // holds hosts, hostname, resolv.conf, shm
  std::string cgroup_path;
  std::vector<VolumeMount> volumes;
  std::set<std::string> held_capabilities;  // no container gets more
  int lowest_oom_score_adj = -1000;         // what the daemon may set
  std::string apparmor_profile;             // loaded; empty: none
};

// kInvalidArgument with the field's name for what cannot be honoured.
StatusOr<spec::Spec> ContainerSpec(const SpecInput& input);

// The process of an exec: the container's own, with other arguments.
spec::Process ExecProcess(const spec::Process& container, const std::vector<std::string>& command,
                          bool terminal);

// Parts, each in the file named above.
StatusOr<spec::Process> ProcessSpec(const SpecInput& input);
StatusOr<std::vector<spec::Mount>> MountSpec(const SpecInput& input);
// Where the spec has a mount that CRI asks for.
std::string MountDestination(const v1::Mount& mount);
Status AddSecurity(const SpecInput& input, spec::Spec* spec);
Status AddResources(const SpecInput& input, spec::Spec* spec);
// kInvalidArgument, with the field's name, for a negative limit; -1 is "unlimited" for memory, swap
// and CPU quota.
Status CheckResources(const v1::LinuxContainerResources& resources);
// CRI's resources as the specification's; used for updates too. Zero is "not given".
spec::Resources ResourcesOf(const v1::LinuxContainerResources& resources);

// A volume made of an image (KEP-4639).
inline bool IsImageVolume(const v1::Mount& mount) {
  return mount.has_image() && !mount.image().image().empty();
}

inline bool IsPrivileged(const SpecInput& input) {
  return input.container->linux().security_context().privileged();
}

// Network, ipc and uts are the sandbox's affair: its containers follow it. Only the PID namespace
// is chosen by container.
inline const v1::NamespaceOption& NamespacesOf(const v1::PodSandboxConfig& sandbox) {
  return sandbox.linux().security_context().namespace_options();
}
inline const v1::NamespaceOption& NamespacesOf(const v1::ContainerConfig& container) {
  return container.linux().security_context().namespace_options();
}

// The namespace types that the sandbox makes, its user namespace first; the others are the host's.
std::vector<std::string> SandboxNamespaces(const v1::PodSandboxConfig& sandbox);
// Those of them that the container joins: for the shim's CreateContainer; its spec lists them
// without a path.
std::vector<std::string> JoinedNamespaces(const v1::PodSandboxConfig& sandbox,
                                          const v1::ContainerConfig& container);

}  // namespace gantry::cri
