#include "imageservice/manifest.h"

#include <algorithm>
#include <array>
#include <utility>

#define JSON_NO_IO
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "nlohmann/json.hpp"

#include "imageservice/reference.h"
#include "runtime/base/json.h"

namespace gantry::images {
namespace {

constexpr size_t kMaxIndexEntries = 4096;

constexpr absl::string_view kDockerManifest =
    "application/vnd.docker.distribution.manifest.v2+json";
constexpr absl::string_view kDockerList =
    "application/vnd.docker.distribution.manifest.list.v2+json";
constexpr absl::string_view kOciManifest = "application/vnd.oci.image.manifest.v1+json";
constexpr absl::string_view kOciIndex = "application/vnd.oci.image.index.v1+json";

bool IsIndexType(absl::string_view type) { return type == kDockerList || type == kOciIndex; }
bool IsManifestType(absl::string_view type) {
  return type == kDockerManifest || type == kOciManifest;
}

// "type; charset=utf-8" without its parameters.
absl::string_view BareType(absl::string_view type) {
  type = type.substr(0, type.find(';'));
  while (!type.empty() && type.back() == ' ') type.remove_suffix(1);
  return type;
}

void ReadPlatform(const JsonReader& reader, Platform& platform) {
  reader.Read("os", platform.os);
  reader.Read("architecture", platform.architecture);
  reader.Read("variant", platform.variant);
  reader.Read("os.features", platform.features);
  platform = Normalised(std::move(platform));
}

// The content that a descriptor brings along, base64 (descriptor.md, "Embedded Content").
void ReadData(const JsonReader& reader, Descriptor& descriptor) {
  std::string encoded;
  reader.Read("data", encoded);
  if (!absl::Base64Unescape(encoded, &descriptor.data)) reader.Fail("data", "is not base64");
  if (!encoded.empty() && descriptor.data.size() != descriptor.size)
    reader.Fail("data", "has another size than the descriptor says");
}

void ReadAnnotations(const JsonReader& annotations, Descriptor& descriptor) {
  std::string type, uncompressed;
  annotations.Read("org.opencontainers.image.ref.name", descriptor.name);
  annotations.Read("io.containerd.image.name", descriptor.name);
  annotations.Read("vnd.docker.reference.type", type);
  annotations.Read("io.deis.oras.content.digest", uncompressed);
  annotations.Read("org.cncf.model.filepath", descriptor.title);
  annotations.Read("org.opencontainers.image.title", descriptor.title);
  descriptor.attestation = type == "attestation-manifest";
  if (IsDigest(uncompressed)) descriptor.uncompressed = uncompressed;
}

Descriptor ReadDescriptor(const JsonReader& reader) {
  Descriptor descriptor;
  reader.Read("mediaType", descriptor.media_type);
  reader.Read("digest", descriptor.digest);
  if (!IsDigest(descriptor.digest)) reader.Fail("digest", "must be a sha256 or sha512 digest");
  if (!reader.Has("size")) reader.Fail("size", "is missing");
  reader.Read("size", descriptor.size);
  reader.Object("platform",
                [&](JsonReader platform) { ReadPlatform(platform, descriptor.platform); });
  reader.Object("annotations",
                [&](JsonReader annotations) { ReadAnnotations(annotations, descriptor); });
  ReadData(reader, descriptor);
  return descriptor;
}

bool IsImageConfigType(absl::string_view type) {
  // octet-stream: a bug of old pushers (distribution #1622).
  static constexpr std::array<absl::string_view, 4> kTypes = {
      "application/vnd.docker.container.image.v1+json", "application/vnd.oci.image.config.v1+json",
      "application/octet-stream", ""};
  return std::find(kTypes.begin(), kTypes.end(), type) != kTypes.end();
}

bool IsLayerType(absl::string_view type) {
  if (absl::StrContains(type, "encrypted")) return false;
  return type.empty() || absl::StartsWith(type, "application/vnd.docker.image.rootfs.diff.tar") ||
         absl::StartsWith(type, "application/vnd.docker.image.rootfs.foreign.diff.tar") ||
         absl::StartsWith(type, "application/vnd.oci.image.layer.v1.tar") ||
         absl::StartsWith(type, "application/vnd.oci.image.layer.nondistributable.v1.tar");
}

StatusOr<ManifestDocument> ReadImageManifest(const JsonReader& root, const Status& status) {
  ImageManifest manifest;
  if (!root.Has("config")) root.Fail("config", "is missing");
  root.Object("config", [&](JsonReader config) {
    manifest.config = ReadDescriptor(config);
    if (!IsImageConfigType(manifest.config.media_type)) {
      manifest.artifact_type = manifest.config.media_type;
      root.Read("artifactType", manifest.artifact_type);
    }
    if (manifest.config.size > kMaxConfigBytes) config.Fail("size", "is over 8 MiB");
  });
  root.ForEach("layers", [&](JsonReader layer) {
    if (manifest.layers.size() == kMaxLayers) root.Fail("layers", "are more than 1024");
    if (!status.ok()) return;
    manifest.layers.push_back(ReadDescriptor(layer));
    if (manifest.artifact_type.empty() && !IsLayerType(manifest.layers.back().media_type)) {
      layer.Fail("mediaType", absl::StrCat("is ", manifest.layers.back().media_type,
                                           ": no layer that can be unpacked"));
    }
  });
  RETURN_IF_ERROR(status);
  return ManifestDocument(std::move(manifest));
}

StatusOr<ManifestDocument> ReadImageIndex(const JsonReader& root, const Status& status) {
  ImageIndex index;
  root.ForEach("manifests", [&](JsonReader entry) {
    if (index.manifests.size() == kMaxIndexEntries) root.Fail("manifests", "are more than 4096");
    if (status.ok()) index.manifests.push_back(ReadDescriptor(entry));
  });
  RETURN_IF_ERROR(status);
  return ManifestDocument(std::move(index));
}

// What kind of document it is must not be open to two readings (CVE-2021-41190).
Status CheckKind(const JsonReader& root, absl::string_view type, absl::string_view outer_type) {
  const bool has_index = root.Has("manifests");
  const bool has_manifest = root.Has("layers") || root.Has("config");
  if (has_index && has_manifest) {
    return absl::InvalidArgumentError("it is an image manifest and an index at once");
  }
  if (!has_index && !has_manifest) {
    return absl::InvalidArgumentError("it is neither an image manifest nor an index");
  }
  for (const absl::string_view claim : {type, outer_type}) {
    if ((IsIndexType(claim) && !has_index) || (IsManifestType(claim) && !has_manifest)) {
      return absl::InvalidArgumentError(absl::StrCat("its content is no ", claim));
    }
  }
  return absl::OkStatus();
}

Status CheckSchema(const JsonReader& root, const Status& status, absl::string_view outer_type) {
  int64_t version = 2;
  root.Read("schemaVersion", version);
  RETURN_IF_ERROR(status);
  if (version == 1 || absl::StrContains(outer_type, "docker.distribution.manifest.v1+")) {
    return absl::InvalidArgumentError(
        "it is a docker schema 1 manifest, which is no longer supported: push the image again with "
        "a current tool");
  }
  if (version != 2)
    return absl::InvalidArgumentError(absl::StrCat("schemaVersion ", version, " is unknown"));
  return absl::OkStatus();
}

void ReadRunConfig(const JsonReader& reader, ImageConfig& config) {
  reader.Read("User", config.user);
  reader.Read("Entrypoint", config.entrypoint);
  reader.Read("Cmd", config.cmd);
  reader.Read("Env", config.env);
  reader.Read("WorkingDir", config.working_dir);
  reader.Read("StopSignal", config.stop_signal);
  reader.Read("Labels", config.labels);
  reader.ForEachMember(
      "Volumes", [&](const std::string& path, JsonReader) { config.volumes.push_back(path); });
  reader.ForEachMember("ExposedPorts", [&](const std::string& port, JsonReader) {
    config.exposed_ports.push_back(port);
  });
}

std::string HealthcheckJson(const nlohmann::json& document) {
  const auto config = document.find("config");
  if (config == document.end() || !config->is_object()) return "";
  const auto healthcheck = config->find("Healthcheck");
  return healthcheck == config->end() || healthcheck->is_null() ? "" : DumpJson(*healthcheck);
}

}  // namespace

StatusOr<ManifestDocument> ParseManifest(absl::string_view bytes, absl::string_view content_type) {
  const JsonLimits limits = {
      .max_bytes = kMaxManifestBytes, .max_depth = 32, .max_values = 200'000};
  ASSIGN_OR_RETURN_CONTEXT(const nlohmann::json document, ParseJson(bytes, limits), "manifest");
  if (!document.is_object()) return absl::InvalidArgumentError("manifest: must be an object");
  const absl::string_view outer_type = BareType(content_type);
  Status status;
  const JsonReader root(document, status);
  std::string type;
  root.Read("mediaType", type);
  RETURN_IF_ERROR_CONTEXT(CheckSchema(root, status, outer_type), "manifest");
  RETURN_IF_ERROR_CONTEXT(CheckKind(root, type, outer_type), "manifest");
  auto result =
      root.Has("manifests") ? ReadImageIndex(root, status) : ReadImageManifest(root, status);
  if (!result.ok()) return Annotate(result.status(), "manifest");
  return result;
}

StatusOr<std::vector<Descriptor>> PlatformCandidates(const ImageIndex& index,
                                                     const Platform& node) {
  std::vector<std::pair<int, const Descriptor*>> ranked;
  std::vector<std::string> offers;
  for (const Descriptor& entry : index.manifests) {
    if (entry.attestation) continue;
    if (offers.size() < 16) offers.push_back(Describe(entry.platform));
    if (!entry.media_type.empty() && !IsIndexType(entry.media_type) &&
        !IsManifestType(entry.media_type))
      continue;
    // A manifest without a platform is somebody's choice of a single image; any named match beats
    // it.
    const int rank = entry.platform == Platform{} ? 0 : PlatformRank(entry.platform, node);
    if (rank >= 0) ranked.emplace_back(rank, &entry);
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<Descriptor> candidates;
  for (const auto& [rank, entry] : ranked) candidates.push_back(*entry);
  if (!candidates.empty()) return candidates;
  return absl::NotFoundError(
      absl::StrCat("no image for ", Describe(node), "; there is ",
                   offers.empty() ? "nothing" : absl::StrJoin(offers, ", ")));
}

StatusOr<Descriptor> ChoosePlatform(const ImageIndex& index, const Platform& node) {
  ASSIGN_OR_RETURN(std::vector<Descriptor> candidates, PlatformCandidates(index, node));
  return std::move(candidates.front());
}

StatusOr<ConfigDocument> ParseConfig(absl::string_view bytes) {
  const JsonLimits limits = {.max_bytes = kMaxConfigBytes, .max_depth = 64, .max_values = 500'000};
  ASSIGN_OR_RETURN_CONTEXT(const nlohmann::json document, ParseJson(bytes, limits), "image config");
  if (!document.is_object()) return absl::InvalidArgumentError("image config: must be an object");
  Status status;
  const JsonReader root(document, status);
  ConfigDocument result;
  root.Read("os", result.config.os);
  root.Read("architecture", result.config.architecture);
  if (!result.config.os.empty() && result.config.os != "linux") root.Fail("os", "must be linux");
  root.Object("config", [&](JsonReader config) { ReadRunConfig(config, result.config); });
  if (!root.Has("rootfs")) root.Fail("rootfs", "is missing: this is no image configuration");
  root.Object("rootfs", [&](JsonReader rootfs) {
    rootfs.Read("diff_ids", result.diff_ids);
    if (result.diff_ids.size() > kMaxLayers) rootfs.Fail("diff_ids", "are more than 1024");
    for (const std::string& diff_id : result.diff_ids) {
      if (!IsDigest(diff_id)) rootfs.Fail("diff_ids", "holds a string that is no digest");
    }
  });
  RETURN_IF_ERROR_CONTEXT(status, "image config");
  result.config.healthcheck_json = HealthcheckJson(document);
  return result;
}

}  // namespace gantry::images
