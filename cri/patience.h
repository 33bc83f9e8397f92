// How long gantryd waits for a shim, a kernel or a container's end, wherever it waits for them.
#pragma once

#include <chrono>

#include "absl/time/time.h"

namespace gantry::cri {

// For what a shim does at once.
inline constexpr absl::Duration kShimAnswer = absl::Seconds(10);
// For what reads disks: the creation and the start of a container.
inline constexpr absl::Duration kShimStartAnswer = absl::Seconds(60);
// For the end of what was killed, when something is taken apart.
inline constexpr absl::Duration kKillDeadline = absl::Seconds(20);
// For processes that are on their way out of a control group.
inline constexpr std::chrono::milliseconds kCgroupPatience{2000};

}  // namespace gantry::cri
