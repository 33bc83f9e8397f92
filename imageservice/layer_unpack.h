// A layer's bytes, as the registry has them, to a directory tree: inflate → sha256 of the tar →
// parse → write.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "imageservice/inflate.h"
#include "imageservice/layer_reader.h"
#include "imageservice/layer_writer.h"
#include "runtime/base/status.h"

namespace gantry::images {

struct UnpackLimits {
  InflateLimits inflate;
  TarLimits tar;
  LayerWriterLimits writer;
};

struct UnpackResult {
  std::string diff_id;              // sha256:… of the tar stream, trailing padding included
  std::vector<std::string> opaque;  // see LayerWriter
};

// One thread; used once. Errors are those of Inflater, TarReader and LayerWriter.
class LayerUnpacker {
 public:
  // `root`: see LayerWriter.
  static StatusOr<std::unique_ptr<LayerUnpacker>> Create(int root, const UnpackLimits& limits);
  ~LayerUnpacker();

  Status Feed(absl::string_view bytes);
  StatusOr<UnpackResult> Finish();

 private:
  struct State;
  explicit LayerUnpacker(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gantry::images
