// The names of a layer's entries, before they touch a file system.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry::images {

// What an entry's last component asks for (OCI image-spec layer.md, "Whiteouts"; overlay of aufs
// heritage).
enum class LayerName {
  kRoot,  // ".", "/", "./": the root directory itself
  kOrdinary,
  kWhiteout,  // .wh.<name>: <name> of the layers below is gone
  kOpaque,    // .wh..wh..opq: nothing of the layers below shows in the directory
  kIgnored,   // .wh..wh.*: bookkeeping of aufs
};

struct LayerPath {
  std::vector<std::string> parents;
  std::string name;  // the last component; without ".wh." for a whiteout, empty for the root
  LayerName kind = LayerName::kRoot;
};

// Splits and cleans a name: leading slashes, empty and "." components go, "a/../b" is b.
// kInvalidArgument: it leads above the root, has a NUL, a component over 255 bytes, more than 256
// components, or a whiteout's name that cannot be one.
StatusOr<LayerPath> CleanLayerPath(absl::string_view name);

}  // namespace gantry::images
