#include "cri/container_devices.h"

#include <algorithm>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

#include "runtime/cdi/apply.h"

namespace gantry::cri {
namespace {

constexpr char kAnnotationPrefix[] = "cdi.k8s.io/";

}  // namespace

std::vector<std::string> CdiDeviceNames(const v1::ContainerConfig& config) {
  std::vector<std::string> names;
  const auto add = [&names](absl::string_view name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.emplace_back(name);
  };
  for (const auto& device : config.cdi_devices()) add(device.name());
  // Sorted: the wire's order of a map is nobody's.
  const std::map<std::string, std::string> annotations(config.annotations().begin(),
                                                       config.annotations().end());
  for (const auto& [key, value] : annotations) {
    if (!absl::StartsWith(key, kAnnotationPrefix)) continue;
    for (const absl::string_view name : absl::StrSplit(value, ',', absl::SkipWhitespace()))
      add(absl::StripAsciiWhitespace(name));
  }
  return names;
}

Status AddCdiDevices(cdi::Registry* registry, const v1::ContainerConfig& config, spec::Spec* spec) {
  const std::vector<std::string> names = CdiDeviceNames(config);
  if (names.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<cdi::Found> devices, registry->Find(names));
  return cdi::Apply(devices, spec);
}

}  // namespace gantry::cri
