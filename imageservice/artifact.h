// Artifacts as volumes: manifests whose configuration is no image's (OCI image-spec manifest.md,
// "Guidelines for Artifact Usage"). Pure.
//
// Layers are kept by the digest of their blob, and what a blob unpacks to depends on its bytes
// alone: an artifact that names the layer of an image gets that layer, and cannot change it.
#pragma once

#include <string>
#include <vector>

#include "imageservice/manifest.h"
#include "runtime/base/status.h"

namespace gantry::images {

// True for tar and compressed tar, by whatever vendor.
bool IsTarType(absl::string_view media_type);

// The diffIDs of an artifact's layers, bottom first: a plain tar's is its digest, a compressed one
// must tell it (Descriptor::uncompressed). kUnimplemented, naming the layer and its type: it cannot
// be mounted as a volume. Such are layers that are no tar, compressed ones that do not tell what
// they unpack to, and artifacts without layers.
StatusOr<std::vector<std::string>> ArtifactDiffIds(const ImageManifest& manifest);

}  // namespace gantry::images
