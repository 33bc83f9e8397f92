// The messages of CRI, and the one alias for them: inside gantry::… plain runtime::v1 would find
// gantry::runtime.
#pragma once

#include "cri/proto/container.pb.h"
#include "cri/proto/exec.pb.h"
#include "cri/proto/image.pb.h"
#include "cri/proto/node.pb.h"
#include "cri/proto/resources.pb.h"
#include "cri/proto/sandbox.pb.h"
#include "cri/proto/sandbox_config.pb.h"
#include "cri/proto/security.pb.h"
#include "cri/proto/values.pb.h"

namespace gantry::cri {
namespace v1 = ::runtime::v1;
}  // namespace gantry::cri
