// Snapshots to disk: always the newest one, in the order in which they were made.
#pragma once

#include <string>

#include "cri/node.h"

namespace gantry::cri {

// Writes the object as it now is, and waits for the commit. OK when it is gone meanwhile. What
// fails is noted for PersistUnrecorded.
Status PersistContainer(Node* node, const std::string& id);
Status PersistSandbox(Node* node, const std::string& id);

// Deletes the record on disk. No snapshot is written after it, also not by somebody who has just
// changed the object; in memory it stays for the caller to erase. On failure all is as before.
Status ForgetContainer(Node* node, const std::string& id);
Status ForgetSandbox(Node* node, const std::string& id);

// Writes once more what could not be written since (a full disk): called once in a while.
void PersistUnrecorded(Node* node);

}  // namespace gantry::cri
