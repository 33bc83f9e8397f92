#include "runtime/oci_arguments.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace gantry::runtime {
namespace {

Status Unknown(absl::string_view argument) {
  return absl::InvalidArgumentError(absl::StrCat("unknown option ", argument));
}

// "--name=value" or "--name"; the value of the latter is the next argument, which is then consumed.
Status AddLong(const OptionTable& table, std::span<const std::string> arguments, size_t& at,
               Options& out) {
  const std::string& argument = arguments[at];
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(argument, absl::MaxSplits('=', 1));
  // Go's flag package, which runc's callers are used to, takes one dash too.
  const std::string name = parts.first.substr(absl::StartsWith(parts.first, "--") ? 2 : 1);
  const bool has_value = absl::StrContains(argument, "=");
  if (table.flags.contains(name)) {
    if (has_value && parts.second != "true" && parts.second != "false")
      return absl::InvalidArgumentError(absl::StrCat("option --", name, " takes no value"));
    if (parts.second != "false") out.values[name].emplace_back();
    return absl::OkStatus();
  }
  if (!table.with_value.contains(name)) return Unknown(argument);
  if (!has_value && at + 1 == arguments.size())
    return absl::InvalidArgumentError(absl::StrCat("option ", argument, " needs a value"));
  out.values[name].push_back(has_value ? parts.second : arguments[++at]);
  return absl::OkStatus();
}

// "-n value" or several flags, "-ab".
Status AddShort(const OptionTable& table, std::span<const std::string> arguments, size_t& at,
                Options& out) {
  const std::string argument = arguments[at];
  for (size_t i = 1; i < argument.size(); ++i) {
    const auto found = table.short_names.find(argument[i]);
    if (found == table.short_names.end()) return Unknown(argument);
    if (table.flags.contains(found->second)) {
      out.values[found->second].emplace_back();
      continue;
    }
    const bool attached = i + 1 < argument.size();
    if (!attached && at + 1 == arguments.size())
      return absl::InvalidArgumentError(absl::StrCat("option ", argument, " needs a value"));
    out.values[found->second].push_back(attached ? argument.substr(i + 1) : arguments[++at]);
    return absl::OkStatus();
  }
  return absl::OkStatus();
}

}  // namespace

std::string Options::Get(const std::string& name) const {
  const auto found = values.find(name);
  return found == values.end() ? "" : found->second.back();
}

std::vector<std::string> Options::All(const std::string& name) const {
  const auto found = values.find(name);
  return found == values.end() ? std::vector<std::string>() : found->second;
}

StatusOr<Options> ParseOptions(const OptionTable& table, std::span<const std::string> arguments) {
  Options options;
  size_t at = 0;
  for (; at < arguments.size(); ++at) {
    const std::string& argument = arguments[at];
    if (argument == "--") {
      ++at;
      break;
    }
    if (!absl::StartsWith(argument, "-") || argument == "-") break;
    const bool short_form = argument[1] != '-' && table.short_names.contains(argument[1]);
    RETURN_IF_ERROR(short_form ? AddShort(table, arguments, at, options)
                               : AddLong(table, arguments, at, options));
  }
  for (; at < arguments.size(); ++at) options.positional.push_back(arguments[at]);
  return options;
}

}  // namespace gantry::runtime
