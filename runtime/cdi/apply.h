// What CDI devices ask for, done to an OCI spec (CDI 1.1.0, "Injection"): once the edits that each
// file has for all of its devices, then those of each device, in the order in which they were asked
// for. A variable replaces one of the same name, a node one at the same path, a mount one at the
// same place; mounts are then ordered by depth.
#pragma once

#include <vector>

#include "runtime/base/status.h"
#include "runtime/cdi/registry.h"
#include "runtime/spec/spec.h"

namespace gantry::cdi {

// Nodes are looked up on the host unless the file says what they are. On failure, which names the
// device, its file and the reason, the spec is spoiled: kFailedPrecondition for a node that is not
// there, kUnimplemented for what this runtime does not do (hooks, resource control groups, moving
// network interfaces).
Status Apply(const std::vector<Found>& devices, spec::Spec* spec);

}  // namespace gantry::cdi
