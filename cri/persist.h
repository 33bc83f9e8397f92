// Snapshots to disk: always the newest one, in the order in which they were made.
#pragma once

#include <string>

#include "cri/node.h"

namespace gantry::cri {

// Writes the object as it now is, and waits for the commit. OK when it is gone meanwhile.
Status PersistContainer(Node* node, const std::string& id);
Status PersistSandbox(Node* node, const std::string& id);

}  // namespace gantry::cri
