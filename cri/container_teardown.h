// Ending and forgetting a container, from whatever state it is in. Idempotent, resumable.
#pragma once

#include <string>

#include "cri/node.h"

namespace gantry::cri {

// SIGKILL to every process of it, through the shim, and through its cgroup where there is no shim.
// Does not wait.
void KillContainer(Node* node, const Container& container);

// The same, and waits for its end. False: it has not ended within kKillDeadline.
bool KillAndAwait(Node* node, const Container& container);

// Kills what runs, deletes the writable layer, the cgroup and the record, frees the name. The log
// stays. OK for an unknown id. On failure the container stays listed and the call can be repeated.
Status RemoveContainerObject(Node* node, const std::string& id);

}  // namespace gantry::cri
