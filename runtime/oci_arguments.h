// The command line of gantry-oci, in the form of runc: global options, a command, its options,
// positional arguments.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/status.h"

namespace gantry::runtime {

// What one command takes. Long names without dashes; `short_names`: letter → long name.
struct OptionTable {
  std::set<std::string> flags = {};
  std::set<std::string> with_value = {};
  std::map<char, std::string> short_names = {};
};

struct Options {
  std::map<std::string, std::vector<std::string>> values;  // flags hold ""
  std::vector<std::string> positional;

  [[nodiscard]] bool Has(const std::string& name) const { return values.contains(name); }
  // The last one given; "" when there is none.
  [[nodiscard]] std::string Get(const std::string& name) const;
  [[nodiscard]] std::vector<std::string> All(const std::string& name) const;
};

// Reads options up to the first positional argument, or "--"; all from there on is positional: the
// words of a container's command are not ours. --name VALUE, --name=VALUE, -n VALUE, -abc for
// flags, --flag=false. kInvalidArgument: an unknown option, a missing or unexpected value.
StatusOr<Options> ParseOptions(const OptionTable& table, std::span<const std::string> arguments);

}  // namespace gantry::runtime
