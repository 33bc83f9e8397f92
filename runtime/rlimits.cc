#include "runtime/rlimits.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace gantry::runtime {
namespace {

constexpr std::pair<absl::string_view, int> kNames[] = {
    {"RLIMIT_AS", RLIMIT_AS},
    {"RLIMIT_CORE", RLIMIT_CORE},
    {"RLIMIT_CPU", RLIMIT_CPU},
    {"RLIMIT_DATA", RLIMIT_DATA},
    {"RLIMIT_FSIZE", RLIMIT_FSIZE},
    {"RLIMIT_LOCKS", RLIMIT_LOCKS},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
    {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
    {"RLIMIT_NICE", RLIMIT_NICE},
    {"RLIMIT_NOFILE", RLIMIT_NOFILE},
    {"RLIMIT_NPROC", RLIMIT_NPROC},
    {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
    {"RLIMIT_RTTIME", RLIMIT_RTTIME},
    {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
    {"RLIMIT_STACK", RLIMIT_STACK},
};

// The type that glibc's prototypes want is an enum in C++.
Status Apply(__rlimit_resource resource, const spec::Rlimit& rlimit) {
  struct rlimit wanted = {rlimit.soft, rlimit.hard};
  if (setrlimit(resource, &wanted) == 0) return absl::OkStatus();
  if (errno != EPERM) return SyscallError("setrlimit", rlimit.type);
  struct rlimit current = {};
  if (getrlimit(resource, &current) != 0) return SyscallError("getrlimit", rlimit.type);
  wanted.rlim_max = std::min(wanted.rlim_max, current.rlim_max);
  wanted.rlim_cur = std::min(wanted.rlim_cur, wanted.rlim_max);
  if (setrlimit(resource, &wanted) != 0) return SyscallError("setrlimit", rlimit.type);
  return absl::OkStatus();
}

}  // namespace

std::optional<int> RlimitNumber(const std::string& type) {
  for (const auto& [name, number] : kNames) {
    if (name == type) return number;
  }
  return std::nullopt;
}

Status ApplyRlimits(const std::vector<spec::Rlimit>& rlimits) {
  for (const spec::Rlimit& rlimit : rlimits) {
    const std::optional<int> number = RlimitNumber(rlimit.type);
    if (!number.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("unknown rlimit \"", rlimit.type, "\""));
    }
    if (rlimit.soft > rlimit.hard) {
      return absl::InvalidArgumentError(absl::StrCat("rlimit ", rlimit.type, ": soft limit ",
                                                     rlimit.soft, " above the hard one ",
                                                     rlimit.hard));
    }
    RETURN_IF_ERROR(Apply(static_cast<__rlimit_resource>(*number), rlimit));
  }
  return absl::OkStatus();
}

}  // namespace gantry::runtime
