// Images as an archive: an OCI image layout that `docker load` reads too (oci-layout, index.json,
// manifest.json, blobs/).
//
// Layers are in it as plain tar, made again from what is on disk, so the image's id and the diffIDs
// are what they were. The manifest is the one that was pulled where that names plain layers, and
// the archive then has the same digest; registries mostly compress layers, and nothing here keeps
// those bytes: then it is a new manifest of the same configuration.
#pragma once

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

#include "imageservice/image_store.h"
#include "imageservice/layer_tar.h"
#include "runtime/base/status.h"

namespace gantry::images {

// Writes the images that `references` name (ImageStore::Find) to `sink`, in pieces of any size.
// kNotFound: no such image, or it was recorded before documents were kept; kFailedPrecondition: a
// layer lies here as a directory; kDataLoss: one is damaged; or what the sink returned. The images'
// layers are held while it runs.
Status ExportImages(ImageStore* store, const std::vector<std::string>& references,
                    const LayerTarOptions& options,
                    absl::FunctionRef<Status(absl::string_view)> sink);

}  // namespace gantry::images
