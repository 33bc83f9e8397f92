#include "runtime/capabilities.h"

#include <sys/capability.h>
#include <sys/prctl.h>

#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace gantry::runtime {
namespace {

constexpr int kMaxCapability = 63;

uint64_t Bits(const std::vector<std::string>& names) {
  uint64_t bits = 0;
  for (const std::string& name : names) {
    cap_value_t number = 0;
    // libcap's names are in lower case.
    if (cap_from_name(absl::AsciiStrToLower(name).c_str(), &number) != 0) continue;
    if (number <= kMaxCapability) bits |= uint64_t{1} << number;
  }
  return bits;
}

struct __user_cap_header_struct Header() {
  return {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
}

}  // namespace

CapabilitySets PlanCapabilities(const std::optional<spec::Capabilities>& wanted, uint64_t held) {
  CapabilitySets sets;
  if (!wanted.has_value()) return sets;
  sets.bounding = Bits(wanted->bounding) & held;
  sets.permitted = Bits(wanted->permitted) & held;
  sets.effective = Bits(wanted->effective) & sets.permitted;
  // The kernel takes nothing into the inheritable set that the bounding set has lost.
  sets.inheritable = Bits(wanted->inheritable) & held & sets.bounding;
  sets.ambient = Bits(wanted->ambient) & sets.permitted & sets.inheritable;
  return sets;
}

StatusOr<uint64_t> HeldCapabilities() {
  struct __user_cap_header_struct header = Header();
  struct __user_cap_data_struct data[2] = {};
  if (capget(&header, data) != 0) return SyscallError("capget");
  return uint64_t{data[1].permitted} << 32 | data[0].permitted;
}

Status DropBounding(uint64_t keep) {
  for (int capability = 0; capability <= kMaxCapability; ++capability) {
    if ((keep >> capability & 1) != 0) continue;
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0) continue;
    if (errno == EINVAL) break;  // above the last one that the kernel knows
    return SyscallError("drop from the bounding set", absl::StrCat("capability ", capability));
  }
  return absl::OkStatus();
}

Status SetCapabilities(const CapabilitySets& sets) {
  struct __user_cap_header_struct header = Header();
  struct __user_cap_data_struct data[2];
  for (int half = 0; half < 2; ++half) {
    data[half].effective = static_cast<uint32_t>(sets.effective >> (32 * half));
    data[half].permitted = static_cast<uint32_t>(sets.permitted >> (32 * half));
    data[half].inheritable = static_cast<uint32_t>(sets.inheritable >> (32 * half));
  }
  if (capset(&header, data) != 0) return SyscallError("capset");
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) {
    return SyscallError("clear ambient capabilities");
  }
  for (int capability = 0; capability <= kMaxCapability; ++capability) {
    if ((sets.ambient >> capability & 1) == 0) continue;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0) {
      return SyscallError("raise ambient", absl::StrCat("capability ", capability));
    }
  }
  return absl::OkStatus();
}

}  // namespace gantry::runtime
