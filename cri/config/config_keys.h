// The keys of the configuration file: one table from which reading, checking and writing are
// driven.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"

#include "cri/config/config.h"

namespace gantry::cri {

// Where a key's value stands in a Config.
using ConfigTarget = std::variant<std::string*, int*, std::vector<std::string>*>;

struct ConfigKey {
  const char* section;  // "" at the top, else "image", "network", "runtime", …
  const char* key;
  ConfigTarget target;
  const char* comment;                   // lines separated by \n, without "# "
  Status (*check)(const ConfigTarget&);  // of the value; nullptr: anything goes

  // "section.key", or the key alone at the top.
  [[nodiscard]] std::string Name() const;
};

// In the order of the file, pointing into `config`.
std::vector<ConfigKey> ConfigKeys(Config& config);

// `(did you mean "x"?)` with a space before it for the candidate that is at most two edits (of a
// letter, or two neighbours exchanged) away from `typed`; empty when there is none.
std::string Suggest(absl::string_view typed, const std::vector<std::string>& candidates);

}  // namespace gantry::cri
