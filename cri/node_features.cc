#include "cri/node_features.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/capability.h>
#include <sys/mount.h>

#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"

namespace gantry::cri {
namespace {

// Both what it may use and what it may hand down: a bounding set can only shrink.
std::set<std::string> HeldCapabilities() {
  std::set<std::string> held;
  const std::unique_ptr<_cap_struct, int (*)(void*)> sets(cap_get_proc(), cap_free);
  if (sets == nullptr) return held;
  for (cap_value_t value = 0; value <= cap_max_bits() && value < CAP_LAST_CAP + 1; ++value) {
    cap_flag_value_t permitted = CAP_CLEAR;
    if (cap_get_flag(sets.get(), value, CAP_PERMITTED, &permitted) != 0 || permitted != CAP_SET)
      continue;
    if (cap_get_bound(value) != 1) continue;
    const std::unique_ptr<char, int (*)(void*)> name(cap_to_name(value), cap_free);
    if (name != nullptr) held.insert(absl::AsciiStrToUpper(name.get()));
  }
  return held;
}

std::set<std::string> KernelCapabilities() {
  std::set<std::string> all;
  for (cap_value_t value = 0; value < cap_max_bits(); ++value) {
    const std::unique_ptr<char, int (*)(void*)> name(cap_to_name(value), cap_free);
    if (name != nullptr) all.insert(absl::AsciiStrToUpper(name.get()));
  }
  return all;
}

// The kernel checks the attributes before the descriptor: EBADF means that it knows the call.
bool HasMountSetattr() {
  mount_attr attributes = {};
  attributes.attr_set = MOUNT_ATTR_RDONLY;
  return mount_setattr(-1, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes) != 0 &&
         errno != ENOSYS;
}

}  // namespace

StatusOr<NodeFeatures> DetectFeatures() {
  NodeFeatures features;
  ASSIGN_OR_RETURN(const std::string boot_id,
                   ReadFileAt(AT_FDCWD, "/proc/sys/kernel/random/boot_id"));
  features.boot_id = std::string(absl::StripAsciiWhitespace(boot_id));
  ASSIGN_OR_RETURN(features.cgroups, DetectCgroupHost());
  features.capabilities = HeldCapabilities();
  features.kernel_capabilities = KernelCapabilities();
  features.may_lower_oom_score_adj = features.capabilities.count("CAP_SYS_RESOURCE") > 0;
  ASSIGN_OR_RETURN(const std::string oom, ReadFileAt(AT_FDCWD, "/proc/self/oom_score_adj"));
  if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(oom), &features.oom_score_adj))
    return absl::InternalError(absl::StrCat("/proc/self/oom_score_adj: \"", oom, "\""));
  features.recursive_read_only_mounts = HasMountSetattr();
  return features;
}

}  // namespace gantry::cri
