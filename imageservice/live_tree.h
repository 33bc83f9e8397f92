// Measuring a directory tree while others write in it: what comes and goes meanwhile is no error.
#pragma once

#include <string>

#include "absl/functional/function_ref.h"

#include "imageservice/tree_walk.h"
#include "runtime/base/status.h"

namespace gantry::images {

struct LiveTreeUsage {
  TreeUsage usage;
  bool complete = true;  // false: it was enough, or a deep directory was moved away
};

// What is below and at `path`, as MeasureTree counts. Follows no symbolic link and enters no mount,
// whatever is moved under the walk. `enough` is asked at every name; when it says so, what has been
// counted by then is the result. Errors: `path` cannot be opened.
StatusOr<LiveTreeUsage> MeasureLiveTree(const std::string& path, absl::FunctionRef<bool()> enough);

}  // namespace gantry::images
