// Who a process is: groups, group, user, capabilities, no_new_privs.
#pragma once

#include "runtime/base/status.h"
#include "runtime/id_maps.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

// The host's number of the user, with mappings of the user namespace it is to be in (empty: none).
// kInvalidArgument, and which one, when an id of the user's is not mapped. Pure.
StatusOr<uint32_t> HostUser(const spec::User& user, const IdMaps& maps);

// Takes on the identity for good; the order is in the source. Nothing that needs privilege can
// follow.
Status AssumeIdentity(const spec::Process& process);

}  // namespace gantry::runtime
