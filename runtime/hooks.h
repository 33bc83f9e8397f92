// Hooks of the OCI specification that run on the host: programs that the configuration names,
// called at points of a container's life with its state on standard input.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

// Runs `hooks` one after the other, each with just its own environment, "/" as working directory of
// its caller, and `state_json` on standard input. Blocks. The first one that cannot be started,
// does not end with 0 or is killed at its timeout ends the list: "hook 2 of prestart (/path):
// exited with 1". Callers are single-threaded.
Status RunHooks(absl::string_view kind, const std::vector<spec::Hook>& hooks,
                absl::string_view state_json);

}  // namespace gantry::runtime
