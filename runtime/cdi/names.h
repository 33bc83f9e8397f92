// CDI's names: "vendor/class=device", all three checked (CDI 1.1.0, "Kinds and device names").
#pragma once

#include <string>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry::cdi {

struct QualifiedName {
  std::string kind;  // vendor/class
  std::string device;
};

// kInvalidArgument, with the reason, for anything but a fully qualified name.
StatusOr<QualifiedName> ParseQualifiedName(absl::string_view name);

// "vendor/class". kInvalidArgument with the reason.
Status CheckKind(absl::string_view kind);
Status CheckDeviceName(absl::string_view name);

}  // namespace gantry::cdi
