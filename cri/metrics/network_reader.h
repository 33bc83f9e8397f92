// The interface counters of a pod's network namespace, through a descriptor of its /proc/net/dev.
//
// The descriptor keeps the namespace alive: it is closed before the pod's network is taken down.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cri/metrics/cgroup_text.h"
#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::cri {

class NetworkReader {
 public:
  // `netns_path`: where the namespace is pinned. A thread that ends at once enters it, so that no
  // thread of the daemon is ever in a pod's namespace. Errors: there is no namespace at that path.
  static StatusOr<std::unique_ptr<NetworkReader>> Open(const std::string& netns_path);

  explicit NetworkReader(UniqueFd counters) : counters_(std::move(counters)) {}

  // All interfaces but for the loopback. Any thread.
  [[nodiscard]] std::vector<InterfaceCounters> Read() const;

 private:
  const UniqueFd counters_;
};

}  // namespace gantry::cri
