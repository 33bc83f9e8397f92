// What the machine and the daemon can do, tried out once at start.
#pragma once

#include "cri/node.h"

namespace gantry::cri {

StatusOr<NodeFeatures> DetectFeatures();

}  // namespace gantry::cri
