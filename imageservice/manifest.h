// The documents of an image: manifest, index (or docker's manifest list) and configuration, read
// from untrusted bytes.
//
// Docker schema 2 (distribution spec/manifest-v2-2.md) and OCI image-spec manifest.md,
// image-index.md, config.md. What has another form is refused with a text that says what it is.
// Everything here is pure.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"

#include "imageservice/image.h"
#include "runtime/base/status.h"

namespace gantry::images {

inline constexpr size_t kMaxManifestBytes = 4 << 20;
inline constexpr size_t kMaxConfigBytes = 8 << 20;
inline constexpr size_t kMaxLayers = 1024;
inline constexpr int kMaxIndexDepth = 4;

struct Platform {
  std::string os, architecture, variant;
  bool operator==(const Platform&) const = default;
};

struct Descriptor {
  std::string media_type;
  std::string digest;  // valid
  uint64_t size = 0;   // bytes
  Platform platform;   // all empty: not given
  std::string name;    // org.opencontainers.image.ref.name or io.containerd.image.name, as written
};

struct ImageManifest {
  Descriptor config;
  std::vector<Descriptor> layers;  // bottom first; a digest may occur twice
};

struct ImageIndex {
  std::vector<Descriptor> manifests;
};

using ManifestDocument = std::variant<ImageManifest, ImageIndex>;

// `content_type`: what the registry or the descriptor called it; may be empty. kInvalidArgument:
// malformed, over a limit, schema 1, manifest and index at once, a media type that contradicts the
// content, a digest that is none, an artifact.
StatusOr<ManifestDocument> ParseManifest(absl::string_view bytes, absl::string_view content_type);

// This machine: linux, and amd64 with its level (v1 to v4) or arm64 with v8.
Platform NodePlatform();

// The entry for `node`: the most specific that it can run (amd64 levels downwards, then 386; arm64,
// then arm v8 to v5). An index inside the index without a platform is taken when nothing matches.
// kNotFound lists what there is.
StatusOr<Descriptor> ChoosePlatform(const ImageIndex& index, const Platform& node);

struct ConfigDocument {
  ImageConfig config;
  std::vector<std::string> diff_ids;  // valid digests, bottom first
};

// kInvalidArgument: malformed, another operating system than Linux, or no rootfs.diff_ids.
StatusOr<ConfigDocument> ParseConfig(absl::string_view bytes);

}  // namespace gantry::images
