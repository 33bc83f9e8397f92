// What CNI plugins answer to ADD, as far as we read it: the addresses. The JSON itself is handed on
// and recorded as it came.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry::cri {

// Which address is the primary one: the plugin's first, or the first of a family where there is
// one.
enum class IpPreference { kCni, kIpv4, kIpv6 };

// Of "cni", "ipv4", "ipv6"; kInvalidArgument for other text.
StatusOr<IpPreference> ParseIpPreference(absl::string_view name);

// The pod's addresses without prefix lengths: those of the preferred family first, else in the
// plugin's order; addresses of interfaces on the host are left out, and so are repeated ones. Reads
// results of all versions (0.1.0 has ip4 and ip6). kDataLoss: not a result; kInternal: one without
// an address.
StatusOr<std::vector<std::string>> PodAddresses(absl::string_view result,
                                                IpPreference preference = IpPreference::kIpv4);

// The result as the next plugin is given it: as it came, but with the configuration's version where
// it has none. kDataLoss: not a result.
StatusOr<std::string> WithCniVersion(absl::string_view result, absl::string_view version);

}  // namespace gantry::cri
