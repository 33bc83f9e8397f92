// Where a form of a layer keeps what a file of the archive contains.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "imageservice/layer_reader.h"

namespace gantry::images {

struct ContentPlace {
  // Directories: its path below the tree, without links, shorter than PATH_MAX. EROFS: empty, it is
  // `data`.
  std::string file;
  uint64_t offset = 0;  // where the file's first byte stands there
};

// Writes a form of a layer.
class LayerConsumer : public TarConsumer {
 public:
  // Between OnEntry and OnEntryEnd: of the entry's content. None when it is kept nowhere, or in a
  // place where nobody shall read it again.
  virtual std::optional<ContentPlace> Place() const = 0;
};

}  // namespace gantry::images
