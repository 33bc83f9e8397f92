// The BPF that runs before libseccomp's: calls that libseccomp has no name for, and ENOSYS for
// numbers that nobody knows.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <vector>

#include "runtime/seccomp/profile.h"

namespace gantry::seccomp {

// The SECCOMP_RET_… value of an action.
uint32_t KernelVerdict(Action action, uint32_t error);

// Instructions that decide, or fall off their end into the program that follows. `architectures`:
// SCMP_ARCH_… values.
std::vector<sock_filter> Prelude(const Profile& profile,
                                 const std::vector<uint32_t>& architectures);

}  // namespace gantry::seccomp
