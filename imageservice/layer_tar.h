// The way back from a layer that is here to its archive, and the proof that it is what its digest
// names. The archive is made by a confined gantry-unpacker (tar_recipe.h); here bytes are counted
// and hashed only.
#pragma once

#include <functional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

#include "imageservice/image_store.h"
#include "runtime/base/status.h"

namespace gantry::images {

struct LayerTarOptions {
  std::string unpacker_binary;
  std::function<bool()> cancelled;  // asked now and then; true ends the work with kCancelled
  std::string diff_id{};            // what an image says; empty: what the layer's record says
};

// OK, or kFailedPrecondition saying why the layer's archive cannot be made again.
Status CheckHasArchive(const LayerInfo& info);

// Makes the layer's archive again; `sink` takes its bytes in order. The layer must be held or in an
// image meanwhile. kFailedPrecondition: its archive cannot be made again, because it is a directory
// and the archive has a file twice, or an older Gantry made it; kNotFound; kDataLoss: its files are
// damaged; kUnavailable: the disk does not answer for minutes.
Status ReadLayerTar(const ImageStore& store, const std::string& digest,
                    const LayerTarOptions& options,
                    absl::FunctionRef<Status(absl::string_view)> sink);

// Proves that what is on disk is what the digest names: the archive made again has the layer's
// diffID, and unpacked once more gives the very files, or the very tree, that lie there. Takes the
// layer's space on disk a second time while it works. OK, or kDataLoss saying what differs, or as
// ReadLayerTar.
Status VerifyLayer(ImageStore* store, const std::string& digest, const LayerTarOptions& options);

}  // namespace gantry::images
