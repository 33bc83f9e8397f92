#include "cri/network/conflist.h"

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"

#include "runtime/base/json.h"

namespace gantry::cri {
namespace {

using Json = nlohmann::json;

constexpr std::array<const char*, 7> kVersions = {"0.1.0", "0.2.0", "0.3.0", "0.3.1",
                                                  "0.4.0", "1.0.0", "1.1.0"};
constexpr char kOldestVersion[] = "0.1.0";  // meant where none is written

// [A-Za-z0-9][A-Za-z0-9_.-]*: it becomes part of file names.
bool ValidName(absl::string_view name) {
  if (name.empty() || name.size() > 255) return false;
  if (!absl::ascii_isalnum(static_cast<unsigned char>(name[0]))) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-';
  });
}

std::string TextOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

StatusOr<std::string> PickVersion(const Json& root) {
  std::vector<std::string> offered;
  const auto list = root.find("cniVersions");
  if (list != root.end() && list->is_array()) {
    for (const Json& version : *list) {
      if (version.is_string()) offered.push_back(version.get<std::string>());
    }
  }
  const std::string single = TextOf(root, "cniVersion");
  if (!single.empty() || offered.empty()) {
    offered.push_back(single.empty() ? kOldestVersion : single);
  }
  for (auto known = kVersions.rbegin(); known != kVersions.rend(); ++known) {
    if (std::find(offered.begin(), offered.end(), *known) != offered.end())
      return std::string(*known);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("cniVersion \"", offered.back(), "\" is not known; 0.3.1 to 1.1.0 are"));
}

StatusOr<CniPlugin> ReadPlugin(const Json& object) {
  if (!object.is_object()) return absl::InvalidArgumentError("must be an object");
  CniPlugin plugin;
  plugin.type = TextOf(object, "type");
  if (plugin.type.empty()) return absl::InvalidArgumentError("\"type\" is missing");
  if (!ValidName(plugin.type)) {
    return absl::InvalidArgumentError(
        absl::StrCat("type \"", plugin.type, "\" is not the name of a program"));
  }
  const auto capabilities = object.find("capabilities");
  if (capabilities != object.end() && capabilities->is_object()) {
    for (const auto& [name, wanted] : capabilities->items()) {
      if (wanted.is_boolean() && wanted.get<bool>()) plugin.capabilities.push_back(name);
    }
  }
  plugin.json = DumpJson(object);
  return plugin;
}

// A single plugin's configuration is the list of it alone.
Json AsList(Json root) {
  if (root.contains("plugins") || !root.contains("type")) return root;
  Json list = Json::object();
  for (const char* key : {"name", "cniVersion"}) {
    if (root.contains(key)) list[key] = root[key];
  }
  list["plugins"] = Json::array({std::move(root)});
  return list;
}

}  // namespace

StatusOr<CniConfig> ParseCniConfig(absl::string_view text) {
  ASSIGN_OR_RETURN(Json root, ParseJson(text));
  if (!root.is_object()) return absl::InvalidArgumentError("must be an object");
  root = AsList(std::move(root));
  CniConfig config;
  config.name = TextOf(root, "name");
  if (!ValidName(config.name)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "name \"", config.name, "\": letters, digits, \"_\", \".\" and \"-\" are needed"));
  }
  ASSIGN_OR_RETURN(config.version, PickVersion(root));
  const auto plugins = root.find("plugins");
  if (plugins == root.end() || !plugins->is_array() || plugins->empty()) {
    return absl::InvalidArgumentError("\"plugins\" must be an array with at least one plugin");
  }
  for (size_t i = 0; i < plugins->size(); ++i) {
    ASSIGN_OR_RETURN_CONTEXT(CniPlugin plugin, ReadPlugin((*plugins)[i]),
                             absl::StrCat("plugins[", i, "]"));
    config.plugins.push_back(std::move(plugin));
  }
  config.bytes = DumpJson(root);
  return config;
}

bool CniVersionAtLeast(absl::string_view a, absl::string_view b) {
  const std::vector<absl::string_view> left = absl::StrSplit(a, '.');
  const std::vector<absl::string_view> right = absl::StrSplit(b, '.');
  for (size_t i = 0; i < 3; ++i) {
    int l = 0;
    int r = 0;
    if (i < left.size()) (void)absl::SimpleAtoi(left[i], &l);
    if (i < right.size()) (void)absl::SimpleAtoi(right[i], &r);
    if (l != r) return l > r;
  }
  return true;
}

}  // namespace gantry::cri
