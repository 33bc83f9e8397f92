#include "imageservice/manifest.h"

#include <algorithm>
#include <array>
#include <utility>

#define JSON_NO_IO
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
  reader.Object("annotations", [&](JsonReader annotations) {
    annotations.Read("org.opencontainers.image.ref.name", descriptor.name);
    annotations.Read("io.containerd.image.name", descriptor.name);
  });
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
      config.Fail("mediaType", absl::StrCat("is ", manifest.config.media_type,
                                            ": an artifact, not a container image"));
    }
    if (manifest.config.size > kMaxConfigBytes) config.Fail("size", "is over 8 MiB");
  });
  root.ForEach("layers", [&](JsonReader layer) {
    if (manifest.layers.size() == kMaxLayers) root.Fail("layers", "are more than 1024");
    if (!status.ok()) return;
    manifest.layers.push_back(ReadDescriptor(layer));
    if (!IsLayerType(manifest.layers.back().media_type)) {
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

int VariantLevel(absl::string_view variant) {
  if (variant.empty()) return 1;
  if (variant.size() != 2 || variant[0] != 'v' || variant[1] < '1' || variant[1] > '9') return -1;
  return variant[1] - '0';
}

// How well `node` runs `offered`: higher is better, negative is not at all.
int PlatformRank(const Platform& offered, const Platform& node) {
  if (offered.os != node.os) return -1;
  const int level = VariantLevel(offered.variant);
  if (level < 0) return -1;
  if (offered.architecture == node.architecture) {
    if (node.architecture == "arm64")
      return offered.variant.empty() || level <= 8 ? 100 + level : -1;
    return level <= std::max(VariantLevel(node.variant), 1) ? 100 + level : -1;
  }
  if (node.architecture == "amd64" && offered.architecture == "386") return 1;
  if (node.architecture == "arm64" && offered.architecture == "arm" && level >= 5 && level <= 8)
    return 10 + level;
  return -1;
}

std::string Describe(const Platform& platform) {
  if (platform == Platform{}) return "unnamed";
  return absl::StrCat(platform.os, "/", platform.architecture, platform.variant.empty() ? "" : "/",
                      platform.variant);
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

Platform NodePlatform() {
#if defined(__x86_64__)
  // By what sets each level apart: clang 14 does not know the levels' own names.
  const char* variant = "v1";
  if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt")) variant = "v2";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) variant = "v3";
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) variant = "v4";
  return {"linux", "amd64", variant};
#elif defined(__aarch64__)
  return {"linux", "arm64", "v8"};
#else
#error "an architecture without a name in images"
#endif
}

StatusOr<Descriptor> ChoosePlatform(const ImageIndex& index, const Platform& node) {
  const Descriptor* best = nullptr;
  int best_rank = -1;
  std::vector<std::string> offers;
  for (const Descriptor& entry : index.manifests) {
    const bool unnamed = entry.platform == Platform{};
    // A manifest without a platform is somebody's choice of a single image; any named match beats
    // it.
    const int rank = unnamed ? 0 : PlatformRank(entry.platform, node);
    if (offers.size() < 16) offers.push_back(Describe(entry.platform));
    if (rank > best_rank) {
      best = &entry;
      best_rank = rank;
    }
  }
  if (best != nullptr) return *best;
  return absl::NotFoundError(
      absl::StrCat("no image for ", Describe(node), "; there is ", absl::StrJoin(offers, ", ")));
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
