// YAML as the JSON document that it stands for. yaml-cpp does the parsing; its exceptions stay in
// yaml.cc.
#pragma once

#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

#include "runtime/base/json.h"
#include "runtime/base/status.h"

namespace gantry::cdi {

// Plain scalars become null, booleans and integers where YAML 1.2's core schema says so, else text;
// quoted ones are text. kInvalidArgument with line and column: malformed text, a second document, a
// key that is no text or occurs twice, an alias inside what it names, over a limit: of values, of
// depth, and of text (max_bytes holds for the file and for the text of all scalars). Aliases are
// counted as often as they are used and what they name once more, before memory is taken.
StatusOr<nlohmann::json> ParseYaml(absl::string_view text, const JsonLimits& limits = {});

}  // namespace gantry::cdi
