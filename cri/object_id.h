// Ids of sandboxes and containers: 64 hexadecimal digits, random, as every CRI client expects them.
#pragma once

#include <string>

namespace gantry::cri {

std::string NewObjectId();

}  // namespace gantry::cri
