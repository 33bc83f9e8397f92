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
#include "imageservice/platform.h"
#include "runtime/base/status.h"

namespace gantry::images {

inline constexpr size_t kMaxManifestBytes = 4 << 20;
inline constexpr size_t kMaxConfigBytes = 8 << 20;
inline constexpr size_t kMaxLayers = 1024;
inline constexpr int kMaxIndexDepth = 4;

struct Descriptor {
  std::string media_type;
  std::string digest;  // valid
  uint64_t size = 0;   // bytes
  Platform platform;   // normalised; all empty: not given
  std::string name;    // org.opencontainers.image.ref.name or io.containerd.image.name, as written
  std::string data;    // the content itself, when the descriptor brings it: `size` bytes, unchecked
  std::string
      uncompressed;  // io.deis.oras.content.digest, when it is a digest: of the inflated tar
  // What an artifact's file is called (org.opencontainers.image.title, else the model spec's
  // org.cncf.model.filepath), as written.
  std::string title;
  bool attestation = false;  // describes another entry of its index (buildkit)
};

struct ImageManifest {
  Descriptor config;
  std::vector<Descriptor> layers;  // bottom first; a digest may occur twice
  // No container image: `config` is not an image's configuration and layers are of any type. Its
  // artifactType, or else the type of `config`; empty for images.
  std::string artifact_type;
};

struct ImageIndex {
  std::vector<Descriptor> manifests;
};

using ManifestDocument = std::variant<ImageManifest, ImageIndex>;

// `content_type`: what the registry or the descriptor called it; may be empty. kInvalidArgument:
// malformed, over a limit, schema 1, manifest and index at once, a media type that contradicts the
// content, a digest that is none, an image with a layer of a foreign type.
StatusOr<ManifestDocument> ParseManifest(absl::string_view bytes, absl::string_view content_type);

// The entries of `index` for `node`, best first: the most specific that it can run (PlatformRank),
// and behind them, in their order, those without a platform. Attestations and what is neither a
// manifest nor an index are left out. kNotFound when none is left: lists what there is.
StatusOr<std::vector<Descriptor>> PlatformCandidates(const ImageIndex& index, const Platform& node);

// The first of them.
StatusOr<Descriptor> ChoosePlatform(const ImageIndex& index, const Platform& node);

struct ConfigDocument {
  ImageConfig config;
  std::vector<std::string> diff_ids;  // valid digests, bottom first
};

// kInvalidArgument: malformed, another operating system than Linux, or no rootfs.diff_ids.
StatusOr<ConfigDocument> ParseConfig(absl::string_view bytes);

}  // namespace gantry::images
