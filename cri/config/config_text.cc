// Writing the configuration: the current values, and the commented defaults.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

#include "cri/config/config_keys.h"

namespace gantry::cri {
namespace {

// A basic string of TOML 1.0.
std::string Quoted(absl::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      absl::StrAppend(&out, "\\", absl::string_view(&c, 1));
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      absl::StrAppendFormat(&out, "\\u%04X", static_cast<unsigned char>(c));
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
  return out;
}

std::string Value(const ConfigTarget& target) {
  if (auto* const* text = std::get_if<std::string*>(&target)) return Quoted(**text);
  if (auto* const* number = std::get_if<int*>(&target)) return absl::StrCat(**number);
  std::string out;
  for (const std::string& element : **std::get_if<std::vector<std::string>*>(&target)) {
    absl::StrAppend(&out, out.empty() ? "" : ", ", Quoted(element));
  }
  return absl::StrCat("[", out, "]");
}

std::string Write(Config config, bool comments) {
  std::string out;
  absl::string_view section;
  for (const ConfigKey& key : ConfigKeys(config)) {
    if (section != key.section) {
      section = key.section;
      absl::StrAppend(&out, "\n[", section, "]\n");
    }
    if (comments) {
      for (absl::string_view line : absl::StrSplit(key.comment, '\n')) {
        absl::StrAppend(&out, "# ", line, "\n");
      }
    }
    absl::StrAppend(&out, key.key, " = ", Value(key.target), "\n");
  }
  return out;
}

}  // namespace

std::string DumpConfig(const Config& config) { return Write(config, /*comments=*/false); }

std::string DefaultConfigText() {
  return absl::StrCat("# Configuration of gantryd, with the default of every key. Usual place: ",
                      kDefaultConfigPath,
                      ".\n# Check a changed file with: gantry config check FILE\n\n",
                      Write(Config(), /*comments=*/true));
}

}  // namespace gantry::cri
