// Events of pods and containers, made of snapshots and published on the node's feed.
#pragma once

#include "cri/node.h"

namespace gantry::cri {

// With the status of the pod and of all its containers. Nothing happens when nobody listens, or the
// object was never handed out to its caller. After the change is recorded.
void PublishContainerEvent(Node* node, v1::ContainerEventType type, const Container& container);
// A pod's own events bear its id as container id, as the kubelet expects.
void PublishSandboxEvent(Node* node, v1::ContainerEventType type, const Sandbox& sandbox);

}  // namespace gantry::cri
