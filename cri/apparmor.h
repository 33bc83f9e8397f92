// AppArmor on this node: whether it is there, and which profile a container gets.
//
// The kernel's part is one write before execve (runtime/process_launch.cc); loading a profile needs
// the program apparmor_parser, as with every runtime.
#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "cri/api.h"
#include "runtime/base/status.h"

namespace gantry::cri {

// The profile that containers get which ask for none: loaded with the first of them.
inline constexpr char kDefaultAppArmorProfile[] = "gantry-default";

// Which kind of profile a container asks for, from the field or, by older clients, its deprecated
// predecessor ("runtime/default", "localhost/NAME", "unconfined"). kInvalidArgument for anything
// else.
struct AppArmorRequest {
  enum class Kind { kDefault, kUnconfined, kNamed } kind = Kind::kDefault;
  std::string name;  // kNamed
};
StatusOr<AppArmorRequest> AppArmorRequestOf(const v1::LinuxContainerSecurityContext& security);

// Any thread.
class AppArmor {
 public:
  // Looks whether the kernel has it on (/sys/module/apparmor) and shows its profiles (securityfs).
  AppArmor();

  [[nodiscard]] bool enabled() const { return enabled_; }

  // The profile to execute the container's program with; empty: none. A privileged container gets
  // one only by name. kInvalidArgument: a named profile that is not loaded, or no AppArmor to load
  // it into; kInternal: the default one cannot be loaded.
  StatusOr<std::string> ProfileFor(const v1::LinuxContainerSecurityContext& security);

 private:
  StatusOr<std::string> Default();

  bool enabled_ = false;
  std::string parser_;  // its path; empty: not installed, and no default profile
  absl::Mutex mutex_;   // one loads it, the others wait
};

}  // namespace gantry::cri
