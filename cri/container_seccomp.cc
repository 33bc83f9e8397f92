#include "cri/container_seccomp.h"

#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "runtime/linux/file.h"

namespace gantry::cri {
namespace {

constexpr char kLocalhost[] = "localhost/";
constexpr size_t kProfileLimit = 1 << 20;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"  // older clients still send it
// The field that was there first, as the newer one.
v1::SecurityProfile ProfileOf(const v1::LinuxContainerSecurityContext& security) {
  v1::SecurityProfile profile;
  if (security.has_seccomp()) return security.seccomp();
  absl::string_view path = security.seccomp_profile_path();
  if (path == "runtime/default" || path == "docker/default") {
    profile.set_profile_type(v1::SecurityProfile::RuntimeDefault);
  } else if (absl::ConsumePrefix(&path, kLocalhost)) {
    profile.set_profile_type(v1::SecurityProfile::Localhost);
    profile.set_localhost_ref(std::string(path));
  } else {
    profile.set_profile_type(v1::SecurityProfile::Unconfined);
  }
  return profile;
}
#pragma GCC diagnostic pop

}  // namespace

StatusOr<std::shared_ptr<const std::string>> SeccompFilter(
    Node* node, const v1::LinuxContainerSecurityContext& security,
    const spec::Capabilities& capabilities) {
  if (security.privileged()) return nullptr;
  const v1::SecurityProfile profile = ProfileOf(security);
  const std::set<std::string> held(capabilities.bounding.begin(), capabilities.bounding.end());
  switch (profile.profile_type()) {
    case v1::SecurityProfile::RuntimeDefault:
      return node->filters.Default(held);
    case v1::SecurityProfile::Unconfined:
      return nullptr;
    case v1::SecurityProfile::Localhost:
      break;
    default:
      return absl::InvalidArgumentError("seccomp: unknown profile type");
  }
  absl::string_view path = profile.localhost_ref();
  absl::ConsumePrefix(&path, kLocalhost);
  const std::string file(path);
  if (file.empty() || file[0] != '/')
    return absl::InvalidArgumentError(
        absl::StrCat("seccomp: localhost_ref \"", file, "\" is not an absolute path"));
  auto json = ReadFileAt(AT_FDCWD, file, kProfileLimit);
  if (!json.ok())
    return absl::InvalidArgumentError(absl::StrCat("seccomp: ", json.status().message()));
  auto filter = node->filters.FromJson(*json, held);
  if (!filter.ok())
    return Annotate(filter.status(), absl::StrCat("seccomp profile \"", file, "\""));
  return filter;
}

}  // namespace gantry::cri
