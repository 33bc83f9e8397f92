// Seccomp profiles as plain values: which system calls a container may make. compile.h makes BPF of
// them.
//
// A profile that was read or built is resolved: what depended on capabilities, kernel version and
// machine is decided.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry::seccomp {

enum class Action { kAllow, kErrno, kKillProcess, kKillThread, kTrap, kTrace, kLog };

enum class Comparison {
  kNotEqual,
  kLess,
  kLessOrEqual,
  kEqual,
  kGreaterOrEqual,
  kGreater,
  kMaskedEqual  // (argument & value) == value_two
};

struct Condition {
  uint32_t argument = 0;  // 0 to 5
  uint64_t value = 0;
  uint64_t value_two = 0;
  Comparison comparison = Comparison::kEqual;
};

struct Rule {
  std::vector<std::string> names = {};
  Action action = Action::kAllow;
  uint32_t error = 1;  // errno of kErrno, message of kTrace; 1 is EPERM
  // All must hold. Two on the same argument cannot both be tested by libseccomp: then, as in runc,
  // one is enough.
  std::vector<Condition> conditions = {};
};

struct Profile {
  Action default_action = Action::kErrno;
  uint32_t default_error = 1;
  // Names as libseccomp's with the prefix: SCMP_ARCH_X86_64. The machine's own need not be listed.
  std::vector<std::string> architectures = {};
  std::vector<Rule> rules = {};
};

// What a profile's conditions are decided by.
struct Environment {
  std::set<std::string> capabilities;  // the container's bounding set: CAP_SYS_ADMIN …
  int kernel_major = 0;
  int kernel_minor = 0;
  // The running kernel's version with these capabilities.
  static Environment Current(std::set<std::string> capabilities);
};

// The profile of containers that ask for the runtime's default: an allow-list. Other calls that the
// kernel is known to have get EPERM; numbers unknown to us, and clone3 (whose flags no filter can
// see), get ENOSYS, so that C libraries fall back to older calls. Capabilities open what they stand
// for.
Profile DefaultProfile(const Environment& environment);

// Reads a profile in the form of the OCI specification (linux.seccomp) or of Docker (archMap, names
// with includes and excludes by caps, arches, minKernel; the errno may be a name). kInvalidArgument
// with the path: malformed, an unknown action, operator or architecture, SCMP_ACT_NOTIFY (no
// listener here). Unknown system call names are kept: compile.h leaves out those that this machine
// does not have. `flags` are checked, not kept: the loader chooses them.
StatusOr<Profile> ParseProfile(absl::string_view json, const Environment& environment);

}  // namespace gantry::seccomp
