// A pod on its network and off it: what is recorded when, and what is still owed.
#pragma once

#include "cri/node.h"

namespace gantry::cri {

// Before ADD: the network is ready, can be told of the pod, and no other pod has its host ports.
// Then the record says that a DEL is owed, and by which configuration; storing it is the caller's.
// kUnavailable: no network; kInvalidArgument: what CNI cannot be told; kFailedPrecondition, naming
// the other pod: a host port is taken. Two pods that begin at the same time do not both get a port.
Status ClaimNetwork(Node* node, const v1::PodSandboxConfig& config, store::SandboxRecord* record);

// Runs the DEL that is owed, from the record, whatever is configured now; also when the namespace
// is gone. On success none is owed any more; storing the record is the caller's.
Status PayNetwork(Node* node, const v1::PodSandboxConfig& config, store::SandboxRecord* record);

// PayNetwork, and the namespace's pin removed. Where DEL fails it is handed to NetworkDebts, and
// the caller is told for the first three times (so that it waits for a plugin that is away for a
// while); from then on the pod may go, namespace and all, and the DEL alone is still owed. The
// count is in the record.
Status LeaveNetwork(Node* node, const v1::PodSandboxConfig& config, store::SandboxRecord* record);

// All pods that have an attachment, or owe the DEL of one: what CNI GC must leave alone.
std::vector<CniAttachment> ValidAttachments(const Node& node);

}  // namespace gantry::cri
