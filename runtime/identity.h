// Who a process is: groups, group, user, capabilities, no_new_privs.
#pragma once

#include "runtime/base/status.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

// Takes on the identity for good; the order is in the source. Nothing that needs privilege can
// follow.
Status AssumeIdentity(const spec::Process& process);

}  // namespace gantry::runtime
