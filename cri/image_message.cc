#define JSON_NO_IO
#include "cri/image_message.h"

#include <fnmatch.h>

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "cri/spec/user.h"
#include "imageservice/reference.h"
#include "runtime/base/json.h"

namespace gantry::cri {
namespace {

using nlohmann::json;

void AddSorted(std::vector<std::string> names,
               google::protobuf::RepeatedPtrField<std::string>* to) {
  std::sort(names.begin(), names.end());
  for (std::string& name : names) *to->Add() = std::move(name);
}

// A set as Docker writes it: an object of empty objects.
json SetOf(const std::vector<std::string>& names) {
  json set = json::object();
  for (const std::string& name : names) set[name] = json::object();
  return set;
}

json HealthcheckOf(const std::string& text) {
  StatusOr<json> parsed = ParseJson(text);
  return parsed.ok() ? *std::move(parsed) : json(text);
}

// "config" of the OCI configuration; what the image does not say is left out.
json RunConfigJson(const images::ImageConfig& config) {
  json run = json::object();
  if (!config.user.empty()) run["User"] = config.user;
  if (!config.entrypoint.empty()) run["Entrypoint"] = config.entrypoint;
  if (!config.cmd.empty()) run["Cmd"] = config.cmd;
  if (!config.env.empty()) run["Env"] = config.env;
  if (!config.working_dir.empty()) run["WorkingDir"] = config.working_dir;
  if (!config.volumes.empty()) run["Volumes"] = SetOf(config.volumes);
  if (!config.exposed_ports.empty()) run["ExposedPorts"] = SetOf(config.exposed_ports);
  if (!config.stop_signal.empty()) run["StopSignal"] = config.stop_signal;
  if (!config.labels.empty()) run["Labels"] = config.labels;
  if (!config.healthcheck_json.empty()) run["Healthcheck"] = HealthcheckOf(config.healthcheck_json);
  return run;
}

json LayersJson(const images::Image& image) {
  json layers = json::array();
  for (size_t i = 0; i < image.layers.size(); ++i) {
    json layer = {{"digest", image.layers[i]}};
    if (i < image.diff_ids.size()) layer["diffID"] = image.diff_ids[i];
    layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace

bool IsPinned(const images::Image& image, const std::vector<std::string>& pins) {
  for (const std::string& pin : pins) {
    const StatusOr<images::Reference> name = images::ParseReference(pin);
    const std::string pattern = name.ok() ? name->ToString() : pin;
    for (const auto* names : {&image.repo_tags, &image.repo_digests})
      for (const std::string& one : *names)
        if (fnmatch(pattern.c_str(), one.c_str(), FNM_NOESCAPE) == 0) return true;
  }
  return false;
}

v1::Image ImageMessage(const images::Image& image, const std::vector<std::string>& pins) {
  v1::Image message;
  message.set_id(image.id);
  AddSorted(image.repo_tags, message.mutable_repo_tags());
  AddSorted(image.repo_digests, message.mutable_repo_digests());
  message.set_size(image.size);
  const ImageUser user = ImageUserOf(image.config.user);
  if (user.uid.has_value())
    message.mutable_uid()->set_value(*user.uid);
  else
    message.set_username(user.username);
  message.mutable_spec()->set_image(image.id);
  message.set_pinned(IsPinned(image, pins));
  return message;
}

std::string DigestedReference(const images::Image& image, absl::string_view name) {
  const StatusOr<images::Reference> wanted = images::ParseReference(name);
  const std::string prefix = wanted.ok() ? absl::StrCat(wanted->Name(), "@") : "";
  std::string found;
  for (const std::string& digested : image.repo_digests) {
    const bool from_there = wanted.ok() && absl::StartsWith(digested, prefix);
    if (from_there && (wanted->digest.empty() || digested == wanted->Digested())) return digested;
    if (found.empty()) found = digested;
  }
  return found.empty() ? image.id : found;
}

const std::string& NameAsWritten(const v1::ImageSpec& image) {
  return image.user_specified_image().empty() ? image.image() : image.user_specified_image();
}

std::string ImageDetailJson(const images::Image& image, bool pinned, bool indented) {
  const json detail = {
      {"id", image.id},
      {"repoTags", image.repo_tags},
      {"repoDigests", image.repo_digests},
      {"size", image.size},
      {"pinned", pinned},
      {"pulledAt", image.pulled_at_ns},
      {"layers", LayersJson(image)},
      {"imageSpec",
       {{"architecture", image.config.architecture},
        {"os", image.config.os},
        {"config", RunConfigJson(image.config)},
        {"rootfs", {{"type", "layers"}, {"diff_ids", image.diff_ids}}}}},
  };
  return DumpJson(detail, indented);
}

}  // namespace gantry::cri
