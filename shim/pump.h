// The pump: the process that reads the containers' output and writes their logs. The only one of a
// pod that may sleep on a log disk; the shim talks with it by messages (pump_messages.h) and never
// waits.
#pragma once

#include "runtime/linux/unique_fd.h"

namespace gantry::shim {

// Body of the forked child. Serves until the shim's end of `control` is closed and every stream has
// ended.
[[noreturn]] void RunPump(UniqueFd control);

}  // namespace gantry::shim
