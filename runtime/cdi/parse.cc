#include "runtime/cdi/parse.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#define JSON_NO_IO
#include "nlohmann/json.hpp"

#include "runtime/base/json.h"
#include "runtime/cdi/names.h"
#include "runtime/cdi/yaml.h"

namespace gantry::cdi {
namespace {

using nlohmann::json;

// The largest files in use have a few thousand values.
constexpr JsonLimits kYamlLimits = {.max_values = 50'000};

// In order: a later one has all that an earlier one has.
constexpr std::array kVersions = {"0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0",
                                  "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"};
constexpr std::array kHookNames = {"prestart",       "createRuntime", "createContainer",
                                   "startContainer", "poststart",     "poststop"};

// A place in the document: refuses keys that it does not know, and those that are newer than the
// file says it is. The first error of all is kept.
class Place {
 public:
  Place(const json& value, Status* status, std::string path, size_t version)
      : value_(value), status_(status), path_(std::move(path)), version_(version) {}

  // Each key with the version that brought it, as in kVersions.
  void Keys(std::initializer_list<std::pair<const char*, const char*>> known) const {
    if (!value_.is_object()) return Fail("must be an object");
    for (const auto& [key, unused] : value_.items()) {
      const auto found = std::find_if(known.begin(), known.end(), [&key = key](const auto& entry) {
        return entry.first == key;
      });
      if (found == known.end()) return Fail(absl::StrCat("unknown field \"", key, "\""));
      Needs(found->second, absl::StrCat("field \"", key, "\""));
    }
  }

  void Needs(absl::string_view since, absl::string_view what) const {
    const auto wanted = std::find(kVersions.begin(), kVersions.end(), since);
    if (static_cast<size_t>(wanted - kVersions.begin()) > version_)
      Fail(absl::StrCat(what, " came with CDI ", since, ", and cdiVersion is ",
                        kVersions.at(version_)));
  }

  void Fail(absl::string_view problem) const {
    if (status_->ok())
      *status_ = absl::InvalidArgumentError(path_.empty() ? std::string(problem)
                                                          : absl::StrCat(path_, ": ", problem));
  }

  [[nodiscard]] JsonReader Reader() const { return {value_, *status_, path_}; }
  [[nodiscard]] bool Has(const char* key) const {
    return value_.is_object() && value_.contains(key) && !value_[key].is_null();
  }
  [[nodiscard]] bool ok() const { return status_->ok(); }

  [[nodiscard]] Place Member(const char* key) const {
    return {value_[key], status_, path_.empty() ? key : absl::StrCat(path_, ".", key), version_};
  }
  // Calls `visit` with each element of the array `key`.
  template <typename Visit>
  void Each(const char* key, Visit visit) const {
    if (!Has(key)) return;
    const Place array = Member(key);
    if (!array.value_.is_array()) return array.Fail("must be an array");
    for (size_t i = 0; i < array.value_.size() && ok(); ++i)
      visit(Place(array.value_[i], status_, absl::StrCat(array.path_, "[", i, "]"), version_));
  }

 private:
  const json& value_;
  Status* status_;
  std::string path_;
  size_t version_;
};

void ReadDeviceNode(const Place& place, DeviceNode* node) {
  place.Keys({{"path", "0.1.0"},
              {"hostPath", "0.5.0"},
              {"type", "0.1.0"},
              {"major", "0.1.0"},
              {"minor", "0.1.0"},
              {"fileMode", "0.1.0"},
              {"permissions", "0.1.0"},
              {"uid", "0.1.0"},
              {"gid", "0.1.0"}});
  const JsonReader reader = place.Reader();
  reader.Read("path", node->path);
  reader.Read("hostPath", node->host_path);
  reader.Read("type", node->type);
  reader.Read("major", node->major);
  reader.Read("minor", node->minor);
  reader.Read("fileMode", node->file_mode);
  reader.Read("uid", node->uid);
  reader.Read("gid", node->gid);
  reader.Read("permissions", node->permissions);
  if (!absl::StartsWith(node->path, "/")) place.Fail("path is not absolute");
  if (!node->type.empty() && node->type != "b" && node->type != "c" && node->type != "u" &&
      node->type != "p")
    place.Fail(absl::StrCat("type \"", node->type, "\" is none of b, c, u, p"));
  if (node->permissions != "none" &&
      node->permissions.find_first_not_of("rwm") != std::string::npos)
    place.Fail(absl::StrCat("permissions \"", node->permissions, "\" are not of r, w, m"));
}

void ReadMount(const Place& place, spec::Mount* mount) {
  place.Keys(
      {{"hostPath", "0.1.0"}, {"containerPath", "0.1.0"}, {"options", "0.1.0"}, {"type", "0.4.0"}});
  const JsonReader reader = place.Reader();
  reader.Read("hostPath", mount->source);
  reader.Read("containerPath", mount->destination);
  reader.Read("options", mount->options);
  reader.Read("type", mount->type);
  if (mount->source.empty()) place.Fail("hostPath is missing");
  if (!absl::StartsWith(mount->destination, "/")) place.Fail("containerPath is not absolute");
}

void ReadHook(const Place& place, NamedHook* named) {
  place.Keys({{"hookName", "0.1.0"},
              {"path", "0.1.0"},
              {"args", "0.1.0"},
              {"env", "0.1.0"},
              {"timeout", "0.1.0"}});
  const JsonReader reader = place.Reader();
  reader.Read("hookName", named->name);
  reader.Read("path", named->hook.path);
  reader.Read("args", named->hook.args);
  reader.Read("env", named->hook.env);
  reader.Read("timeout", named->hook.timeout);
  if (std::find(kHookNames.begin(), kHookNames.end(), named->name) == kHookNames.end())
    place.Fail(absl::StrCat("hookName \"", named->name, "\" is none of ",
                            absl::StrJoin(kHookNames, ", ")));
  if (!absl::StartsWith(named->hook.path, "/")) place.Fail("path is not absolute");
}

void ReadNetDevice(const Place& place, std::vector<std::string>* names) {
  place.Keys({{"hostInterfaceName", "1.1.0"}, {"name", "1.1.0"}});
  std::string host, inside;
  place.Reader().Read("hostInterfaceName", host);
  place.Reader().Read("name", inside);
  if (host.empty() || inside.empty()) place.Fail("hostInterfaceName and name are needed");
  if (std::find(names->begin(), names->end(), host) != names->end())
    place.Fail(absl::StrCat("interface \"", host, "\" occurs twice"));
  names->push_back(host);
}

void ReadEdits(const Place& place, ContainerEdits* edits) {
  place.Keys({{"env", "0.1.0"},
              {"deviceNodes", "0.1.0"},
              {"mounts", "0.1.0"},
              {"hooks", "0.1.0"},
              {"additionalGids", "0.7.0"},
              {"intelRdt", "0.7.0"},
              {"netDevices", "1.1.0"}});
  place.Reader().Read("env", edits->env);
  for (const std::string& variable : edits->env)
    if (variable.find('=') == std::string::npos || variable[0] == '=')
      place.Fail(absl::StrCat("env \"", variable, "\" is not KEY=value"));
  place.Reader().Read("additionalGids", edits->additional_gids);
  std::erase(edits->additional_gids, 0U);  // the specification: ignored
  edits->intel_rdt = place.Has("intelRdt");
  place.Each("deviceNodes",
             [edits](const Place& at) { ReadDeviceNode(at, &edits->device_nodes.emplace_back()); });
  place.Each("mounts", [edits](const Place& at) { ReadMount(at, &edits->mounts.emplace_back()); });
  place.Each("hooks", [edits](const Place& at) { ReadHook(at, &edits->hooks.emplace_back()); });
  place.Each("netDevices", [edits](const Place& at) { ReadNetDevice(at, &edits->net_devices); });
}

void ReadDevice(const Place& place, Device* device) {
  place.Keys({{"name", "0.1.0"}, {"annotations", "0.6.0"}, {"containerEdits", "0.1.0"}});
  place.Reader().Read("name", device->name);
  if (const Status named = CheckDeviceName(device->name); !named.ok()) place.Fail(named.message());
  if (!device->name.empty() && absl::ascii_isdigit(static_cast<unsigned char>(device->name[0])))
    place.Needs("0.5.0", "a device name that begins with a digit");
  if (place.Has("containerEdits")) ReadEdits(place.Member("containerEdits"), &device->edits);
  if (place.ok() && device->edits.empty())
    place.Fail(
        absl::StrCat("device \"", device->name, "\" changes nothing: containerEdits is empty"));
}

void ReadFile(const Place& place, SpecFile* file) {
  place.Keys({{"cdiVersion", "0.1.0"},
              {"kind", "0.1.0"},
              {"annotations", "0.6.0"},
              {"devices", "0.1.0"},
              {"containerEdits", "0.1.0"}});
  place.Reader().Read("kind", file->kind);
  if (const Status named = CheckKind(file->kind); !named.ok())
    place.Fail(absl::StrCat("kind: ", named.message()));
  if (absl::StrContains(file->kind.substr(file->kind.find('/') + 1), "."))
    place.Needs("0.6.0", "a class with a dot");
  place.Each("devices", [file](const Place& at) { ReadDevice(at, &file->devices.emplace_back()); });
  std::set<std::string> names;
  for (const Device& device : file->devices)
    if (!names.insert(device.name).second)
      place.Fail(absl::StrCat("device \"", device.name, "\" occurs twice"));
  if (file->devices.empty()) place.Fail("devices is empty");
  if (place.Has("containerEdits")) ReadEdits(place.Member("containerEdits"), &file->edits);
}

}  // namespace

StatusOr<SpecFile> ParseSpecFile(absl::string_view text, absl::string_view name) {
  ASSIGN_OR_RETURN(const json document,
                   absl::EndsWith(name, ".json") ? ParseJson(text) : ParseYaml(text, kYamlLimits));
  SpecFile file;
  Status status;
  if (!document.is_object()) return absl::InvalidArgumentError("must be an object");
  JsonReader(document, status).Read("cdiVersion", file.version);
  RETURN_IF_ERROR(status);
  const auto known = std::find(kVersions.begin(), kVersions.end(), file.version);
  if (known == kVersions.end())
    return absl::InvalidArgumentError(absl::StrCat("cdiVersion \"", file.version, "\" is none of ",
                                                   absl::StrJoin(kVersions, ", ")));
  const Place root(document, &status, "", static_cast<size_t>(known - kVersions.begin()));
  ReadFile(root, &file);
  RETURN_IF_ERROR(status);
  return file;
}

}  // namespace gantry::cdi
