// The daemon's socket: gRPC with all services, from ready to shut down.
#pragma once

#include "cri/node.h"

namespace gantry::cri {

// Serves until SIGTERM or SIGINT (blocked in every thread by the caller). kFailedPrecondition or
// kInternal when the socket cannot be made. Calls under way get a few seconds to end.
Status ServeUntilSignal(Node* node);

}  // namespace gantry::cri
