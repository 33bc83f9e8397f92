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

// Records the exit of a container, in memory (waiters see it) and in the store. Idempotent.
void NoteContainerExit(Node* node, const std::string& container_id, const ContainerExit& exit);

// Ends gantry-init, which outlives its shim, by what the journal says of it.
void KillPodInit(const Node& node, const std::string& pod_id);

// The shim has died: its containers are ended and recorded (exits from its journal, else Unknown),
// the pod is NOTREADY.
void NoteShimDeath(Node* node, const std::string& pod_id);

}  // namespace gantry::cri
