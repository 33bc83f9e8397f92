// The child sides of pod_namespaces.h: one that sets up what it was born in or joins, hands the
// namespaces over, and either exits or becomes gantry-init; and for pods with a user namespace one
// before it, which makes those that belong to it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"
#include "runtime/pod_namespaces.h"

namespace gantry::runtime {

// Born in a new user namespace. Waits until its ids are mapped (kContinue), makes the other
// `types`, hands all over and exits.
class PodOwnerChild {
 public:
  PodOwnerChild(std::vector<std::string> types, UniqueFd handshake)
      : types_(std::move(types)), handshake_(std::move(handshake)) {}
  [[noreturn]] void Run();

 private:
  Status MakeNamespaces();

  const std::vector<std::string> types_;
  UniqueFd handshake_;
};

class PodInitChild {
 public:
  // `owned`: namespaces that are there already; all others of request.types it was born in.
  PodInitChild(const PodNamespacesRequest& request, const PodNamespaceFds& owned,
               UniqueFd handshake);
  [[noreturn]] void Run();

 private:
  Status DropInheritedFds();
  // All but the user namespace: what is to be done next takes the host's capabilities.
  Status JoinOwned();
  Status SetUpNamespaces();
  Status HandOver();
  // With a PID namespace: the root becomes an empty, read-only tmpfs.
  Status EnterEmptyRoot();
  // In a pod with a user namespace its init is nobody of the host's either.
  Status GiveUpPrivileges();
  Status BecomeInit();
  [[nodiscard]] bool Has(const char* type) const;

  const PodNamespacesRequest& request_;
  const PodNamespaceFds& owned_;
  UniqueFd handshake_;
};

}  // namespace gantry::runtime
