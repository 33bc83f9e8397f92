// Whether two trees are the same to a container: names, types, modes, owners, times, links of both
// kinds, devices, contents, and the attributes of files and directories, but for security.* other
// than file capabilities, which are the host's. Both are private: nobody changes them meanwhile.
#pragma once

#include <functional>

#include "runtime/base/status.h"

namespace gantry::images {

// `kept`, `made`: open for reading. Any depth, with few descriptors; no link is followed, no device
// opened. OK, or kDataLoss with the first difference ("\"usr/bin/env\": its mode is …").
// `cancelled` may be empty; true ends the work with kCancelled.
Status CompareTrees(int kept, int made, const std::function<bool()>& cancelled);

}  // namespace gantry::images
