// config.json of the OCI runtime specification to and from the plain values of spec.h.
//
// Reading is strict (base/json.h) about form: wrong types, duplicate keys, numbers out of range.
// Keys that the specification does not know are ignored, as it asks; known ones that this runtime
// cannot honour are refused, so that nobody runs with less than was asked for. Whether the values
// make sense is for validate.h.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/spec/spec.h"

namespace gantry::spec {

// kInvalidArgument with the path: "config.json: mounts[3].source: must be a string, not number".
StatusOr<Spec> ParseSpec(absl::string_view json);

// The form of `exec --process FILE`.
StatusOr<Process> ParseProcess(absl::string_view json);

// linux.resources alone, the form of `update --resources FILE`.
StatusOr<Resources> ParseResources(absl::string_view json);

// Read back by the functions above to equal values. Empty and unset members are left out.
std::string ToJson(const Spec& spec);
std::string ToJson(const Process& process);
std::string ToJson(const Seccomp& seccomp);
std::string ToJson(const Resources& resources);

}  // namespace gantry::spec
