// Capabilities of a process (capabilities(7)): from the names of a spec to the five sets, and into
// force.
#pragma once

#include <cstdint>
#include <optional>

#include "runtime/base/status.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

// Bit n stands for capability number n.
struct CapabilitySets {
  uint64_t bounding = 0;
  uint64_t effective = 0;
  uint64_t permitted = 0;
  uint64_t inheritable = 0;
  uint64_t ambient = 0;
};

// The sets to give a process, cut to `held` and made to agree with each other as the kernel
// demands: effective within permitted, ambient within permitted and inheritable. Without a list:
// none. Names that this system does not know are left out: a newer caller may name newer ones.
// Pure.
CapabilitySets PlanCapabilities(const std::optional<spec::Capabilities>& wanted, uint64_t held);

// The caller's permitted set.
StatusOr<uint64_t> HeldCapabilities();

// Takes everything outside of `keep` out of the bounding set. Needs CAP_SETPCAP.
Status DropBounding(uint64_t keep);

// Effective, permitted, inheritable, then ambient.
Status SetCapabilities(const CapabilitySets& sets);

}  // namespace gantry::runtime
