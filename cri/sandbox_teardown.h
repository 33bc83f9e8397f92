// Ending a pod, from whatever state it is in: used by StopPodSandbox and RemovePodSandbox, by
// RunPodSandbox to undo a failed start, and after a restart. Idempotent and resumable; bounded by
// its own deadlines, not the caller's.
#pragma once

#include <string>

#include "cri/node.h"

namespace gantry::cri {

// Kills the containers, ends the shim, takes the pod off the network, removes its mounts and
// cgroups. The record stays, NOTREADY. OK for an unknown id. On failure what is left can be stopped
// again.
Status StopSandbox(Node* node, const std::string& id);

// StopSandbox, then forgets the containers and the sandbox. OK for an unknown id.
Status RemoveSandbox(Node* node, const std::string& id);

}  // namespace gantry::cri
