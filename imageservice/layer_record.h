// What is known of a layer on this node, and its form on disk: the file layer.json in its folder.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

#include "imageservice/tree_walk.h"
#include "runtime/base/status.h"

namespace gantry::images {

// How a layer lies on disk. Both forms show the same tree.
enum class LayerForm {
  kDirectory,  // <layer>/fs/ is the tree
  kErofs,      // <layer>/meta and <layer>/data (erofs_writer.h), mounted on <layer>/fs, where the
               // workshop sees it and nobody else
};

// "directory", "erofs".
absl::string_view LayerFormName(LayerForm form);

struct LayerInfo {
  std::string digest;   // of the blob: the key
  std::string diff_id;  // of its tar stream, as computed
  LayerForm form = LayerForm::kDirectory;
  uint64_t tar_bytes = 0;  // length of that stream; 0: not known
  TreeUsage usage;         // bytes and inodes that it takes on disk
  // Size of <layer>/recipe (tar_recipe.h); 0: its archive cannot be made again.
  uint64_t recipe_bytes = 0;
  // kErofs: sizes of its files.
  uint64_t data_bytes = 0;
  uint64_t meta_bytes = 0;
  int64_t made_at_ns = 0;  // tells one publication of a digest from the next
};

// The names in a layer's folder.
inline constexpr char kLayerTree[] = "fs", kLayerData[] = "data", kLayerMeta[] = "meta",
                      kLayerRecipe[] = "recipe";

// Reads the record in `folder` (a descriptor) and compares it with what lies beside it: kDataLoss
// or kInvalidArgument when a file is missing or has another size than it had. Reads no content.
StatusOr<LayerInfo> ReadLayerRecord(int folder);

// Writes it; durable with the folder itself.
Status WriteLayerRecord(int folder, const LayerInfo& info);

}  // namespace gantry::images
