// What shims tell: exits, OOM kills, their own end. Handled one after the other, away from the
// reactor's thread.
#pragma once

#include <memory>
#include <string>

#include "cri/node.h"

namespace gantry::cri {

// Makes the connection to a pod's shim and says Hello: events after `events_since` follow. `hello`
// (may be nullptr) gets the shim's answer.
StatusOr<std::shared_ptr<PodShim>> GreetShim(Node* node, const std::string& pod_id,
                                             UniqueFd connection, uint64_t events_since,
                                             shim::proto::HelloReply* hello);

// Records the exit of a container, in memory (waiters see it) and in the store. Idempotent. The
// store's error when it is not on disk: it is seen all the same, and written later.
Status NoteContainerExit(Node* node, const std::string& container_id, const ContainerExit& exit);

// A shim's connection has ended: if it was the pod's, EndPodWithoutShim.
void NoteShimDeath(Node* node, const std::string& pod_id);

// What a shim leaves behind is ended and recorded: containers (exits from its journal, else
// Unknown), gantry-init; the pod is NOTREADY.
void EndPodWithoutShim(Node* node, const std::string& pod_id);

}  // namespace gantry::cri
