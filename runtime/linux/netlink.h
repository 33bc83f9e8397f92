// Route netlink (rtnetlink(7)) in the caller's network namespace.
#pragma once

#include "runtime/base/status.h"

namespace gantry {

// Brings lo up: interface index 1 of every network namespace. The kernel adds 127.0.0.1/8 and
// ::1/128 by itself.
Status BringLoopbackUp();

}  // namespace gantry
