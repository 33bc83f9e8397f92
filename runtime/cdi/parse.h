// Reads CDI specification files, as JSON or YAML, strictly: an unknown field, a field that the
// file's own version does not have yet, a device that changes nothing, a name that occurs twice are
// errors (CDI 1.1.0, "CDI JSON Specification").
#pragma once

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/cdi/model.h"

namespace gantry::cdi {

// `name` decides by its ending: .json, else YAML. kInvalidArgument with the place in the document
// and the reason. Text is bounded (4 MiB), and so is what YAML's aliases make of it.
StatusOr<SpecFile> ParseSpecFile(absl::string_view text, absl::string_view name);

}  // namespace gantry::cdi
