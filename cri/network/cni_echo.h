// Plugins that would only repeat what they were given: a process saved.
#pragma once

#include "nlohmann/json_fwd.hpp"

#include "cri/network/conflist.h"

namespace gantry::cri {

// Whether the plugin, run with these capability arguments, would answer ADD with its prevResult and
// have nothing to take back at DEL: upstream's portmap without port mappings, and bandwidth without
// a bandwidth. False for other types, and for these with a key that we do not know: it may be
// another program of that name.
bool OnlyEchoes(const CniPlugin& plugin, const nlohmann::json& capability_args);

}  // namespace gantry::cri
