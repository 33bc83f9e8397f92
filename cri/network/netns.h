// Network namespaces that outlive their processes: pinned by a bind mount on a file.
#pragma once

#include <string>

#include "runtime/base/status.h"

namespace gantry::cri {

// Makes the file (and its folder) and mounts the namespace on it; `netns_fd` (from
// /proc/PID/ns/net, or the shim) stays the caller's. After a failure nothing is left behind. An
// existing pin is an error.
Status PinNetns(int netns_fd, const std::string& path);

// Unmounts and removes the file. OK when there is none, and for a plain file in its place.
Status UnpinNetns(const std::string& path);

// Whether a namespace is mounted there: not after a reboot, nor when somebody has removed it.
bool IsPinnedNetns(const std::string& path);

}  // namespace gantry::cri
