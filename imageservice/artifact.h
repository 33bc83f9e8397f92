// Artifacts as volumes: manifests whose configuration is no image's (OCI image-spec manifest.md,
// "Guidelines for Artifact Usage"). Pure.
//
// A layer of type tar is unpacked, as an image's is. Any other layer is one file: its blob is the
// content, its title the name. Layers are kept by the digest of their blob, and what such a blob
// unpacks to depends on its bytes alone: an artifact that names the layer of an image gets that
// layer, and cannot change it. A file has a name besides its bytes, and is kept by a digest of
// both, which is no blob's.
#pragma once

#include <string>
#include <vector>

#include "imageservice/manifest.h"
#include "runtime/base/status.h"

namespace gantry::images {

// True for tar and compressed tar, by whatever vendor.
bool IsTarType(absl::string_view media_type);

struct ArtifactLayer {
  Descriptor blob;
  std::string key;      // what the layer is kept by
  std::string diff_id;  // empty: known once it is unpacked
  std::string file;     // a clean relative path: the blob is this file's content. Empty: a tar
};

// Bottom first; without those that only say that there is nothing. kUnimplemented: it has no
// layers. kInvalidArgument: a title that cannot be a file's name.
StatusOr<std::vector<ArtifactLayer>> ArtifactLayers(const ImageManifest& manifest);

}  // namespace gantry::images
