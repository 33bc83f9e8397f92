// What a puller gives up before it speaks to anybody: root, capabilities, new privileges, all files
// but those that resolving names needs, core dumps.
#pragma once

#include "runtime/base/status.h"

namespace gantry::images {

// Call before threads start. Drops to nobody when root (capabilities(7): they go with the uid),
// forbids new privileges and being traced, and, where Landlock is there (Linux 5.13), leaves /etc,
// /usr and the resolver's folders readable and nothing writable. Open descriptors go on working.
Status ConfinePuller();

}  // namespace gantry::images
