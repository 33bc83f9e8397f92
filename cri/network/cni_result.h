// What CNI plugins answer to ADD, as far as we read it: the addresses. The JSON itself is handed on
// and recorded as it came.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry::cri {

// The pod's addresses without prefix lengths, IPv4 first, else in the plugin's order; addresses of
// interfaces on the host are left out. Reads results of all versions (0.1.0 has ip4 and ip6).
// kDataLoss: not a result; kInternal: one without an address.
StatusOr<std::vector<std::string>> PodAddresses(absl::string_view result);

}  // namespace gantry::cri
