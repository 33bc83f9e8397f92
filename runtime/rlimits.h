// Resource limits of a process.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

// RLIMIT_NOFILE's number for "RLIMIT_NOFILE"; nothing for an unknown name.
std::optional<int> RlimitNumber(const std::string& type);

// Sets the limits of the calling process. Without CAP_SYS_RESOURCE a hard limit cannot rise: what
// is asked for is then cut to the one in force. kInvalidArgument for an unknown name or a soft
// limit above the hard one.
Status ApplyRlimits(const std::vector<spec::Rlimit>& rlimits);

}  // namespace gantry::runtime
