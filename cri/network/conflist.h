// CNI network configurations: a .conflist, or a single plugin's .conf from before CNI 1.0.
// CNI specification 1.1.0, section 1; 0.3.1 to 1.1.0 are spoken, older ones read leniently.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry::cri {

struct CniPlugin {
  std::string type;                       // file name of the executable
  std::vector<std::string> capabilities;  // those that are true
  std::string json;                       // its object, keys that we do not know included
};

struct CniConfig {
  std::string name;
  std::string version;  // the highest of cniVersion and cniVersions that we know
  bool disable_gc = false;
  std::vector<CniPlugin> plugins;  // at least one
  std::string bytes;               // the list as JSON: ParseCniConfig reads it back the same
};

// `more_plugins`: objects that come behind those of the list (CniPluginFolder). kInvalidArgument:
// not JSON, no or a wrong name, no plugins, a plugin without a type or with one that is a path,
// only versions that we do not know, a boolean that is none. Booleans may be strings.
StatusOr<CniConfig> ParseCniConfig(absl::string_view text,
                                   const std::vector<std::string>& more_plugins = {});

// The name of the folder, beside a list's file, whose *.conf are plugins of the list too (libcni
// 1.3); empty where there is none: for a single plugin, with loadOnlyInlinedPlugins, or when `text`
// is not valid.
std::string CniPluginFolder(absl::string_view text);

// Whether version `a` is at least `b`; both as "1.0.0".
bool CniVersionAtLeast(absl::string_view a, absl::string_view b);

}  // namespace gantry::cri
