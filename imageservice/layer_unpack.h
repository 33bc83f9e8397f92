// A layer's bytes, as the registry has them, to its entries: inflate → sha256 of the tar → parse.
// Who takes the entries decides what a layer becomes (LayerWriter: a directory tree; ErofsWriter:
// an EROFS image).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

#include "imageservice/inflate.h"
#include "imageservice/layer_reader.h"
#include "runtime/base/status.h"

namespace gantry::images {

struct UnpackLimits {
  InflateLimits inflate;
  TarLimits tar;
};

// One thread; used once. Errors are those of Inflater, TarReader and the consumer.
class LayerUnpacker {
 public:
  // `consumer` stays the caller's, who finishes it after Finish.
  static StatusOr<std::unique_ptr<LayerUnpacker>> Create(TarConsumer* consumer,
                                                         const UnpackLimits& limits);
  ~LayerUnpacker();

  Status Feed(absl::string_view bytes);
  // After the last byte: the diffID, sha256:… of the tar stream, trailing padding included.
  StatusOr<std::string> Finish();
  // Of the archive, so far.
  uint64_t tar_bytes() const;

 private:
  struct State;
  explicit LayerUnpacker(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gantry::images
