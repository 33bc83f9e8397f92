// `gantry config network`: a CNI configuration for a node that has none yet.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/status.h"

namespace gantry::cli {

struct BridgeNetwork {
  std::string name = "gantry";
  std::string interface = "gantry0";                    // the bridge on the host
  std::vector<std::string> subnets = {"10.85.0.0/16"};  // one of IPv4, of IPv6, or both
};

// A conflist of Debian's and upstream's bridge, host-local and portmap. kInvalidArgument: a name
// that CNI refuses, an interface name that Linux refuses, a subnet that is none or too small.
StatusOr<std::string> BridgeConflist(const BridgeNetwork& network);

// Writes DIRECTORY/10-NAME.conflist, whole or not at all, and returns its path; the folder is made
// where there is none. kAlreadyExists when there is such a file and not `force`.
StatusOr<std::string> WriteConflist(const std::string& directory, const std::string& name,
                                    const std::string& text, bool force);

}  // namespace gantry::cli
