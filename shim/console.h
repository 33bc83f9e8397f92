// The shim's side of a terminal: it keeps the pty's master.
#pragma once

#include <cstdint>

#include "runtime/base/status.h"

namespace gantry::shim {

// TIOCSWINSZ. kFailedPrecondition: `terminal` is -1.
Status ResizeTerminal(int terminal, uint32_t width, uint32_t height);

}  // namespace gantry::shim
