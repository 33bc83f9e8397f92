// The seccomp filter of a container: its profile, compiled once.
#pragma once

#include <memory>
#include <string>

#include "cri/node.h"
#include "runtime/spec/spec.h"

namespace gantry::cri {

// nullptr: unconfined (no profile, or privileged). kInvalidArgument: a Localhost profile that is
// missing or malformed.
StatusOr<std::shared_ptr<const std::string>> SeccompFilter(
    Node* node, const v1::LinuxContainerSecurityContext& security,
    const spec::Capabilities& capabilities);

}  // namespace gantry::cri
