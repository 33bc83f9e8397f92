// Plugins that have outlived the daemon that ran them: an ADD that hangs while the daemon is killed
// would go on beside the DEL of the next one, and hold its processes for ever.
#pragma once

#include <set>
#include <string>

namespace gantry::cri {

// Kills the processes that were started as a CNI plugin (CNI_COMMAND in their environment) for one
// of these pods, with what they have started. To be called before anything is run for the pods.
// Returns how many.
int EndPluginsOf(const std::set<std::string>& pod_ids);

}  // namespace gantry::cri
