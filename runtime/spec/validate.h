// What a runtime must refuse in a configuration before it acts on it: values that the OCI runtime
// specification forbids, contradictions, and strings that the kernel would read differently from us
// (NUL bytes, "..").
#pragma once

#include "runtime/base/status.h"
#include "runtime/spec/spec.h"

namespace gantry::spec {

// kInvalidArgument naming the member and the reason, in the path form of json.h:
// "mounts[2].destination: …".
Status Validate(const Spec& spec);
Status ValidateProcess(const Process& process);
// Also for updates. Values are checked against each other, not against the machine.
Status ValidateResources(const Resources& resources);

// Whether `name` (dots or slashes) can be set in a container at all, and which namespace ("ipc",
// "network", "uts") isolates it. kInvalidArgument: it would change the host, or the name is not
// one.
StatusOr<std::string> SysctlNamespace(absl::string_view name);

}  // namespace gantry::spec
