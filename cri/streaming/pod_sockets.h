// Sockets of a pod's network, made without being in it.
#pragma once

#include <functional>
#include <string>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::cri::streaming {

// A TCP socket of the family (AF_INET, AF_INET6) in the pod's network, neither connected nor
// blocking: a socket stays in the network namespace that it was made in. kFailedPrecondition when
// there is no such network any more. Must not block.
using PodSockets = std::function<StatusOr<UniqueFd>(int family)>;

// In the network namespace that is pinned at `netns_path`; empty: the caller's own. A thread that
// lives for this call enters it (setns(2) is by thread): no thread that does other work ever leaves
// the host's.
StatusOr<UniqueFd> SocketInNetwork(const std::string& netns_path, int family);

}  // namespace gantry::cri::streaming
