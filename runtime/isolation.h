// What a container must not see or change in /proc and /sys. Descriptors that are done with go to
// `bin`.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/linux/descriptor_bin.h"

namespace gantry::runtime {

// Covers each path below `root_fd`, read-only: a directory with an empty one, anything else with
// /dev/null. Paths that do not exist are passed over.
Status MaskPaths(const std::vector<std::string>& paths, int root_fd, DescriptorBin& bin);

// Binds each path on itself read-only, with all below it. Paths that do not exist are passed over.
Status MakePathsReadOnly(const std::vector<std::string>& paths, int root_fd, DescriptorBin& bin);

}  // namespace gantry::runtime
