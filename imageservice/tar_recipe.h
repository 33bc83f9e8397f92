// How to make a layer's tar archive again, byte for byte, from what its EROFS form keeps: the
// archive itself with the contents of files left out that lie in `data`. With it an image can be
// exported under its own ID, and a layer on disk be proved to be what its diffID names.
//
// On disk: a zstd frame with checksum (RFC 8878) of records, numbers little endian:
//   'L' length:u32 bytes            bytes of the archive
//   'D' offset:u64 length:u64       so many bytes of `data` from there
// About 40 bytes an entry in practice, and the files that are too small to lie in `data`.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

#include "imageservice/erofs_writer.h"
#include "imageservice/layer_reader.h"
#include "runtime/base/status.h"

namespace gantry::images {

// Stands between TarReader and ErofsWriter and notes what passes. One thread.
class TarRecipeWriter : public TarConsumer {
 public:
  // `recipe`: an empty file open for writing, borrowed. `writer` outlives this.
  static StatusOr<std::unique_ptr<TarRecipeWriter>> Create(int recipe, ErofsWriter* writer);
  ~TarRecipeWriter() override;

  Status OnStructure(absl::string_view bytes) override;
  Status OnEntry(const TarEntry& entry) override;
  Status OnData(uint64_t offset, absl::string_view bytes) override;
  Status OnEntryEnd() override;

  // Call once after the archive's last byte; kResourceExhausted as everywhere when the disk is
  // full.
  Status Finish();

 private:
  struct State;
  explicit TarRecipeWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Makes the archive again: `sink` gets its bytes in order, in pieces of at most 256 KiB. `data` and
// `recipe` are read from their beginnings, whatever their offsets are. kDataLoss: the recipe is
// damaged or names what `data` does not have; kResourceExhausted: it makes more than `max_bytes`;
// or what the sink returned.
Status RebuildTar(int data, int recipe, uint64_t max_bytes,
                  absl::FunctionRef<Status(absl::string_view)> sink);

}  // namespace gantry::images
