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

// As Go's strconv.ParseBool reads strings. Absent: false.
StatusOr<bool> BooleanOf(const Json& object, const std::string& key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return false;
  if (found->is_boolean()) return found->get<bool>();
  const std::string text = found->is_string() ? found->get<std::string>() : "";
  for (const char* yes : {"true", "True", "TRUE", "t", "T", "1"}) {
    if (text == yes) return true;
  }
  for (const char* no : {"false", "False", "FALSE", "f", "F", "0"}) {
    if (text == no) return false;
  }
  return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" must be true or false"));
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
    for (const auto& [name, unread] : capabilities->items()) {
      ASSIGN_OR_RETURN(const bool wanted, BooleanOf(*capabilities, name));
      if (wanted) plugin.capabilities.push_back(name);
    }
  }
  plugin.json = DumpJson(object);
  return plugin;
}

bool IsSingle(const Json& root) { return !root.contains("plugins") && root.contains("type"); }

// A single plugin's configuration is the list of it alone.
Json AsList(Json root) {
  if (!IsSingle(root)) return root;
  Json list = Json::object();
  for (const char* key : {"name", "cniVersion"}) {
    if (root.contains(key)) list[key] = root[key];
  }
  list["plugins"] = Json::array({std::move(root)});
  return list;
}

// The list becomes what its file and its folder say together: from then on it stands alone.
Status Append(const std::vector<std::string>& more_plugins, Json& root) {
  for (const std::string& text : more_plugins) {
    ASSIGN_OR_RETURN(Json plugin, ParseJson(text));
    if (!root.contains("plugins")) root["plugins"] = Json::array();
    if (root["plugins"].is_array()) root["plugins"].push_back(std::move(plugin));
  }
  if (!more_plugins.empty()) root["loadOnlyInlinedPlugins"] = true;
  return absl::OkStatus();
}

Status ReadPlugins(const Json& root, CniConfig& config) {
  const auto plugins = root.find("plugins");
  if (plugins == root.end() || !plugins->is_array() || plugins->empty()) {
    return absl::InvalidArgumentError("\"plugins\" must be an array with at least one plugin");
  }
  for (size_t i = 0; i < plugins->size(); ++i) {
    ASSIGN_OR_RETURN_CONTEXT(CniPlugin plugin, ReadPlugin((*plugins)[i]),
                             absl::StrCat("plugins[", i, "]"));
    config.plugins.push_back(std::move(plugin));
  }
  return absl::OkStatus();
}

}  // namespace

std::string CniPluginFolder(absl::string_view text) {
  const StatusOr<Json> root = ParseJson(text);
  if (!root.ok() || !root->is_object() || IsSingle(*root)) return "";
  if (BooleanOf(*root, "loadOnlyInlinedPlugins").value_or(true)) return "";
  const std::string name = TextOf(*root, "name");
  return ValidName(name) ? name : "";
}

StatusOr<CniConfig> ParseCniConfig(absl::string_view text,
                                   const std::vector<std::string>& more_plugins) {
  ASSIGN_OR_RETURN(Json root, ParseJson(text));
  if (!root.is_object()) return absl::InvalidArgumentError("must be an object");
  root = AsList(std::move(root));
  RETURN_IF_ERROR(Append(more_plugins, root));
  CniConfig config;
  config.name = TextOf(root, "name");
  if (!ValidName(config.name)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "name \"", config.name, "\": letters, digits, \"_\", \".\" and \"-\" are needed"));
  }
  ASSIGN_OR_RETURN(config.version, PickVersion(root));
  ASSIGN_OR_RETURN(config.disable_gc, BooleanOf(root, "disableGC"));
  RETURN_IF_ERROR(ReadPlugins(root, config));
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
