#include <sched.h>
#include <sys/personality.h>
#include <sys/socket.h>

#include <cerrno>
#include <set>
#include <string>

#include "absl/strings/str_split.h"

#include "runtime/seccomp/default_table.h"
#include "runtime/seccomp/profile.h"

namespace gantry::seccomp {
namespace {

// The kernel reads `int` arguments from the lower half of a register; a comparison of the whole
// register could be walked around with garbage in the upper half.
constexpr uint64_t kIntMask = 0xFFFFFFFF;

constexpr uint64_t kNamespaceFlags = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                     CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

// What emulators and debuggers need: Linux, UNAME26 not; no address space randomisation; 32-bit;
// and the query.
constexpr uint64_t kPersonalities[] = {0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF};

struct FamilyRange {
  uint64_t first;
  uint64_t count;  // a power of two that divides `first`
};
// All address families below 64 (the kernel ends at 46) but AF_ALG (38) and AF_VSOCK (40), as
// aligned blocks: one masked comparison each, for a rule cannot say "less than" of half a register.
constexpr FamilyRange kFamilies[] = {{0, 32}, {32, 4}, {36, 2}, {39, 1},
                                     {41, 1}, {42, 2}, {44, 4}, {48, 16}};
static_assert(AF_ALG == 38 && AF_VSOCK == 40);

Rule Masked(absl::string_view name, uint64_t mask, uint64_t value) {
  return {.names = {std::string(name)},
          .action = Action::kAllow,
          .conditions = {{.argument = 0,
                          .value = mask,
                          .value_two = value,
                          .comparison = Comparison::kMaskedEqual}}};
}

}  // namespace

Profile DefaultProfile(const Environment& environment) {
  Profile profile;
  profile.default_action = Action::kErrno;
  profile.default_error = EPERM;
#if defined(__x86_64__)
  profile.architectures = {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"};
#else
  profile.architectures = {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"};
#endif
  std::set<std::string> unlocked;
  for (const auto& unlock : default_table::kUnlocks) {
    if (!environment.capabilities.contains(std::string(unlock.capability))) continue;
    for (const absl::string_view name : absl::StrSplit(unlock.names, ' ')) unlocked.emplace(name);
  }
  Rule allowed{.names = absl::StrSplit(default_table::kAllowed, ' '), .action = Action::kAllow};
  allowed.names.insert(allowed.names.end(), unlocked.begin(), unlocked.end());
  profile.rules.push_back(std::move(allowed));

  // Named although the default says the same: compile.h takes what no rule names for unknown.
  Rule refused{.action = Action::kErrno, .error = EPERM};
  for (const absl::string_view name : absl::StrSplit(default_table::kRefused, ' ')) {
    if (!unlocked.contains(std::string(name))) refused.names.emplace_back(name);
  }
  profile.rules.push_back(std::move(refused));

  for (const uint64_t value : kPersonalities)
    profile.rules.push_back(Masked("personality", kIntMask, value));
  for (const FamilyRange& range : kFamilies)
    profile.rules.push_back(Masked("socket", kIntMask & ~(range.count - 1), range.first));
  if (!unlocked.contains("clone")) {
    profile.rules.push_back(Masked("clone", kNamespaceFlags, 0));
    // Its flags lie in memory, where a filter cannot look. C libraries take ENOSYS as "use clone".
    profile.rules.push_back({.names = {"clone3"}, .action = Action::kErrno, .error = ENOSYS});
  }
  return profile;
}

}  // namespace gantry::seccomp
