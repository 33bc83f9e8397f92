// Measuring a directory tree while others write in it: what comes and goes meanwhile is no error.
#pragma once

#include <chrono>
#include <string>

#include "imageservice/tree_walk.h"
#include "runtime/base/status.h"

namespace gantry::images {

struct LiveTreeUsage {
  TreeUsage usage;
  bool complete = true;  // false: time was over, or a deep directory was moved; this is what had
                         // been counted by then
};

// What is below and at `path`, as MeasureTree counts. Follows no symbolic link and enters no mount,
// whatever is moved under the walk. Ends after `patience`. Errors: `path` cannot be opened.
StatusOr<LiveTreeUsage> MeasureLiveTree(const std::string& path,
                                        std::chrono::milliseconds patience);

}  // namespace gantry::images
