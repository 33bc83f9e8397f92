// Names and numbers of system calls: libseccomp's tables, and the calls that are newer than Debian
// 12's libseccomp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace gantry::seccomp {

// Calls that libseccomp may not know. Since 403 numbers are the same on every architecture.
std::optional<uint32_t> NewSyscallNumber(absl::string_view name, uint32_t architecture);

// The number on `architecture` (SCMP_ARCH_…), from both tables; nothing when it has none there.
std::optional<uint32_t> SyscallNumber(const std::string& name, uint32_t architecture);

// Whether either table has a call of this number.
bool IsKnownNumber(uint32_t number, uint32_t architecture);

// Whether libseccomp has heard of the name, on any architecture.
bool LibseccompKnows(const std::string& name);

}  // namespace gantry::seccomp
