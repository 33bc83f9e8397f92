#include "cri/spec/user_namespace.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"

namespace gantry::cri {
namespace {

using Mappings = google::protobuf::RepeatedPtrField<v1::IDMapping>;

// (uid_t)-1 is no id: chown(2) and setresuid(2) take it for "leave it".
constexpr uint64_t kLastId = UINT32_MAX - 1;

Status CheckExtent(const std::string& field, const v1::IDMapping& mapping) {
  const std::string shown = absl::StrCat(field, ": ", mapping.container_id(), " to ",
                                         mapping.host_id(), ", length ", mapping.length(), ": ");
  if (mapping.length() == 0) return absl::InvalidArgumentError(shown + "length is 0");
  const uint64_t last = uint64_t{mapping.length()} - 1;
  if (mapping.host_id() + last > kLastId || mapping.container_id() + last > kLastId)
    return absl::InvalidArgumentError(
        absl::StrCat(shown, "it goes on after ", kLastId, ", the last id"));
  return absl::OkStatus();
}

Status CheckMapping(const char* name, const Mappings& mappings) {
  const std::string field = absl::StrCat("userns_options.", name);
  if (mappings.size() != 1)
    return absl::InvalidArgumentError(
        absl::StrCat(field, ": ", mappings.size(), " mappings; exactly one is supported"));
  RETURN_IF_ERROR(CheckExtent(field, mappings[0]));
  if (mappings[0].container_id() == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": id 0 of the container is not mapped (it begins at ",
                   mappings[0].container_id(), "); the mapping must begin at container_id 0"));
}

bool SameMappings(const Mappings& a, const Mappings& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const v1::IDMapping& x, const v1::IDMapping& y) {
                      return x.host_id() == y.host_id() && x.container_id() == y.container_id() &&
                             x.length() == y.length();
                    });
}

bool Meet(const std::vector<spec::IdMapping>& a, const std::vector<spec::IdMapping>& b) {
  for (const spec::IdMapping& x : a) {
    for (const spec::IdMapping& y : b) {
      if (x.host_id < uint64_t{y.host_id} + y.size && y.host_id < uint64_t{x.host_id} + x.size)
        return true;
    }
  }
  return false;
}

}  // namespace

std::vector<spec::IdMapping> MappingsOf(const Mappings& from) {
  std::vector<spec::IdMapping> mappings;
  for (const v1::IDMapping& mapping : from)
    mappings.push_back({mapping.container_id(), mapping.host_id(), mapping.length()});
  return mappings;
}

runtime::IdMaps IdMapsOf(const v1::NamespaceOption& options) {
  if (!HasUserNamespace(options)) return {};
  const v1::UserNamespace& wanted = options.userns_options();
  return {MappingsOf(wanted.uids()), MappingsOf(wanted.gids())};
}

Status CheckUserNamespace(const v1::NamespaceOption& options) {
  if (!options.has_userns_options()) return absl::OkStatus();
  const v1::UserNamespace& wanted = options.userns_options();
  if (wanted.mode() == v1::NODE) {
    if (wanted.uids().empty() && wanted.gids().empty()) return absl::OkStatus();
    return absl::InvalidArgumentError("userns_options: mode NODE takes no mappings");
  }
  if (wanted.mode() != v1::POD)
    return absl::InvalidArgumentError(absl::StrCat(
        "userns_options.mode ", v1::NamespaceMode_Name(wanted.mode()),
        " is not supported: a user namespace is the pod's (POD) or the host's (NODE)"));
  RETURN_IF_ERROR(CheckMapping("uids", wanted.uids()));
  return CheckMapping("gids", wanted.gids());
}

Status CheckUserNamespaceOfPod(const v1::NamespaceOption& sandbox,
                               const v1::NamespaceOption& container) {
  if (!container.has_userns_options()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckUserNamespace(container));
  if (HasUserNamespace(sandbox) != HasUserNamespace(container))
    return absl::InvalidArgumentError(absl::StrCat("userns_options: the container asks for the ",
                                                   HasUserNamespace(container) ? "pod's" : "host's",
                                                   " user namespace, its sandbox has the ",
                                                   HasUserNamespace(sandbox) ? "pod's" : "host's"));
  if (SameMappings(sandbox.userns_options().uids(), container.userns_options().uids()) &&
      SameMappings(sandbox.userns_options().gids(), container.userns_options().gids()))
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      "userns_options: the container's mappings are not those of its sandbox");
}

bool SharesIds(const runtime::IdMaps& a, const runtime::IdMaps& b) {
  return Meet(a.uids, b.uids) || Meet(a.gids, b.gids);
}

Status CheckIdMappings(const v1::Mount& mount) {
  if (mount.uidmappings().empty() != mount.gidmappings().empty())
    return absl::InvalidArgumentError("uidMappings and gidMappings go together");
  for (const auto& mapping : mount.uidmappings())
    RETURN_IF_ERROR(CheckExtent("uidMappings", mapping));
  for (const auto& mapping : mount.gidmappings())
    RETURN_IF_ERROR(CheckExtent("gidMappings", mapping));
  return absl::OkStatus();
}

}  // namespace gantry::cri
