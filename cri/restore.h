// After a restart: read the store, reconnect to the shims, reconcile. Containers have run on
// meanwhile; what they did is told by their shim, or by its journal where it has died, or nobody
// (another boot).
#pragma once

#include "cri/node.h"

namespace gantry::cri {

// Fills the tables before the first RPC is served. Never fatal for one bad record. Sandboxes whose
// creation was cut off are listed NOTREADY.
void Restore(Node* node);

}  // namespace gantry::cri
