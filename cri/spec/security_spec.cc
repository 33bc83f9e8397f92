// Capabilities, masked and read-only paths.
#include <sys/capability.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "cri/spec/container_spec.h"
#include "cri/spec/user_namespace.h"

namespace gantry::cri {
namespace {

// containerd's and Docker's set, so that images behave as they do there.
constexpr const char* kDefaultCapabilities[] = {
    "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",
    "CAP_MKNOD",   "CAP_NET_RAW",      "CAP_SETGID",           "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
    "CAP_KILL",    "CAP_AUDIT_WRITE"};

constexpr const char* kMaskedPaths[] = {
    "/proc/acpi",       "/proc/asound",      "/proc/interrupts",
    "/proc/kcore",      "/proc/keys",        "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
    "/proc/scsi",       "/sys/firmware",     "/sys/devices/virtual/powercap"};
constexpr const char* kReadonlyPaths[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                          "/proc/sysrq-trigger"};

std::string CapabilityName(const std::string& name) {
  const std::string upper = absl::AsciiStrToUpper(name);
  return absl::StartsWith(upper, "CAP_") ? upper : "CAP_" + upper;
}

// One that is known but not held is left out in silence; one that nobody knows is a mistake of the
// caller's.
bool IsCapability(const std::string& name) {
  cap_value_t value = 0;
  return cap_from_name(absl::AsciiStrToLower(name).c_str(), &value) == 0;
}

template <typename Names>
bool NamesAll(const Names& names) {
  return std::any_of(names.begin(), names.end(),
                     [](const std::string& name) { return absl::EqualsIgnoreCase(name, "ALL"); });
}

// Cut to what the daemon holds: asking the kernel for more would fail the container (CRI-O does)
// without giving any.
std::set<std::string> BoundingSet(const SpecInput& input) {
  const auto& wanted = input.container->linux().security_context().capabilities();
  if (IsPrivileged(input)) return input.held_capabilities;
  std::set<std::string> set(std::begin(kDefaultCapabilities), std::end(kDefaultCapabilities));
  if (NamesAll(wanted.add_capabilities())) set = input.held_capabilities;
  if (NamesAll(wanted.drop_capabilities())) set.clear();
  for (const std::string& name : wanted.add_capabilities())
    if (!absl::EqualsIgnoreCase(name, "ALL")) set.insert(CapabilityName(name));
  for (const std::string& name : wanted.drop_capabilities()) set.erase(CapabilityName(name));
  std::set<std::string> held;
  std::set_intersection(set.begin(), set.end(), input.held_capabilities.begin(),
                        input.held_capabilities.end(), std::inserter(held, held.end()));
  return held;
}

StatusOr<spec::Capabilities> CapabilitySpec(const SpecInput& input) {
  const auto& wanted = input.container->linux().security_context().capabilities();
  for (const auto* names : {&wanted.add_capabilities(), &wanted.add_ambient_capabilities()}) {
    for (const std::string& name : *names) {
      if (!absl::EqualsIgnoreCase(name, "ALL") && !IsCapability(CapabilityName(name)))
        return absl::InvalidArgumentError(
            absl::StrCat("capabilities: \"", name, "\" is no capability"));
    }
  }
  const std::set<std::string> set = BoundingSet(input);
  spec::Capabilities capabilities;
  capabilities.bounding.assign(set.begin(), set.end());
  capabilities.permitted = capabilities.effective = capabilities.bounding;
  // Inheritable stays empty (CVE-2022-24769), but for what is raised as ambient.
  for (const std::string& name : wanted.add_ambient_capabilities()) {
    const std::string full = CapabilityName(name);
    if (set.count(full) == 0)
      return absl::InvalidArgumentError(absl::StrCat(
          "add_ambient_capabilities: \"", name, "\" is not among the container's capabilities"));
    capabilities.ambient.push_back(full);
    capabilities.inheritable.push_back(full);
  }
  return capabilities;
}

}  // namespace

Status AddSecurity(const SpecInput& input, spec::Spec* spec) {
  const auto& security = input.container->linux().security_context();
  RETURN_IF_ERROR(
      CheckUserNamespaceOfPod(NamespacesOf(*input.sandbox), NamespacesOf(*input.container)));
  spec->process->apparmor_profile = input.apparmor_profile;
  ASSIGN_OR_RETURN(spec->process->capabilities, CapabilitySpec(input));
  if (IsPrivileged(input)) return absl::OkStatus();
  // An absent list and an empty one are the same on the wire. Kubelets send both lists, and empty
  // ones for procMount Unmasked, which a pod in a user namespace alone may have. In the host's one
  // nobody gets an unmasked /proc by leaving a field out.
  const bool as_given = HasUserNamespace(NamespacesOf(*input.sandbox));
  if (as_given || security.masked_paths_size() > 0)
    spec->linux_.masked_paths.assign(security.masked_paths().begin(),
                                     security.masked_paths().end());
  else
    spec->linux_.masked_paths.assign(std::begin(kMaskedPaths), std::end(kMaskedPaths));
  if (as_given || security.readonly_paths_size() > 0)
    spec->linux_.readonly_paths.assign(security.readonly_paths().begin(),
                                       security.readonly_paths().end());
  else
    spec->linux_.readonly_paths.assign(std::begin(kReadonlyPaths), std::end(kReadonlyPaths));
  return absl::OkStatus();
}

}  // namespace gantry::cri
