// What runs on this node and stands in no record: the database was lost or replaced, or a record
// could not be read. The kubelet does not see it and starts its like beside it, so it is ended.
#pragma once

#include <map>
#include <string>

#include "cri/node.h"

namespace gantry::cri {

// Folders below state/pods without a sandbox: their shim is told to end with all that it has, or is
// killed where it does not listen; mounts, network namespace, cgroups and the folder go. What the
// pod's network holds elsewhere is not known any more: CNI's GC, where a plugin has it, frees it.
// Before the first RPC; logs each.
void EndUnknownPods(Node* node);

// Of a known pod: the containers that its shim has (by id, as it greeted) and nobody has a record
// of.
void EndUnknownContainers(Node* node, const PodShim& shim,
                          const std::map<std::string, shim::proto::ContainerState>& known);

}  // namespace gantry::cri
