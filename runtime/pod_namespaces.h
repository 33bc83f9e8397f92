// The namespaces that the containers of a pod share: made together by a short-lived child (user
// first, so that it owns the others), held as descriptors.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

struct PodNamespacesRequest {
  std::vector<std::string> types;  // subset of user, network, ipc, uts, pid
  std::string hostname;            // set when uts is among them
  std::map<std::string, std::string>
      sysctls;  // kernel.* and fs.mqueue.* need ipc, net.* needs network
  std::vector<spec::IdMapping> uid_mappings, gid_mappings;  // with user; id 0 is mapped
  // With pid: gantry-init (a static binary, opened), executed as PID 1 of the new namespace: empty
  // root, no capabilities, seccomp. It must make itself undumpable, which execve undoes, and then
  // close all descriptors that it has: MakePodNamespaces waits for that.
  int init_binary_fd = -1;
};

using PodNamespaceFds = std::map<std::string, UniqueFd>;  // by type

struct PodNamespaces {
  PodNamespaceFds fds;
  pid_t init_pid = -1;  // gantry-init, a child of the caller; -1: none
  UniqueFd init_pidfd;
};

// Blocks for about a millisecond (kernel work only). lo is up in a new network namespace.
// With user, that namespace owns network, ipc and uts; pid stays the host's, so that a container's
// init, which is born outside of the user namespace, can be born in it. kInvalidArgument: a sysctl
// that no new namespace isolates, one with a strange name, or a mapping without id 0. On failure
// nothing is left.
StatusOr<PodNamespaces> MakePodNamespaces(const PodNamespacesRequest& request);

}  // namespace gantry::runtime
