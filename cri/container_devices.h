// The devices of a container that vendors describe (CDI): asked for in ContainerConfig.CDI_devices,
// and, by device plugins older than that field, in annotations cdi.k8s.io/ANYTHING, as a comma
// list.
#pragma once

#include <string>
#include <vector>

#include "cri/api.h"
#include "runtime/base/status.h"
#include "runtime/cdi/registry.h"
#include "runtime/spec/spec.h"

namespace gantry::cri {

// The qualified names that the container asks for, each once: those of the field first.
std::vector<std::string> CdiDeviceNames(const v1::ContainerConfig& config);

// Finds them and does to `spec` what their files say. Nothing is looked at when there are none.
// Errors: runtime/cdi/registry.h, apply.h.
Status AddCdiDevices(cdi::Registry* registry, const v1::ContainerConfig& config, spec::Spec* spec);

}  // namespace gantry::cri
