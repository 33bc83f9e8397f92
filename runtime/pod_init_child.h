// The child side of pod_namespaces.h: sets up what it was born in, hands the namespaces over, and
// either exits or becomes gantry-init.
#pragma once

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"
#include "runtime/pod_namespaces.h"

namespace gantry::runtime {

class PodInitChild {
 public:
  PodInitChild(const PodNamespacesRequest& request, UniqueFd handshake);
  [[noreturn]] void Run();

 private:
  Status SetUpNamespaces();
  Status HandOver();
  // With a PID namespace: the root becomes an empty, read-only tmpfs.
  Status EnterEmptyRoot();
  Status GiveUpPrivileges();
  Status BecomeInit();
  [[nodiscard]] bool Has(const char* type) const;

  const PodNamespacesRequest& request_;
  UniqueFd handshake_;
};

}  // namespace gantry::runtime
