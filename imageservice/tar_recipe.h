// How to make a layer's tar archive again, byte for byte, from what lies on disk: the archive
// itself with the contents of files left out that lie in `data`, or in files of the tree. With it
// an image can be exported under its own ID, and a layer on disk be proved to be what its diffID
// names.
//
// On disk: a zstd frame with checksum (RFC 8878) of records, numbers little endian:
//   'L' length:u32 bytes            bytes of the archive
//   'F' length:u16 path             (directories) the file that the next ones read, below the tree
//   'D' offset:u64 length:u64       so many bytes from there, of `data` or of that file
// About 40 bytes an entry in practice, and the files that are too small to lie in `data`.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

#include "imageservice/content_place.h"
#include "imageservice/layer_reader.h"
#include "runtime/base/status.h"

namespace gantry::images {

// Stands between TarReader and who writes a form, and notes what passes. One thread.
class TarRecipeWriter : public TarConsumer {
 public:
  // `recipe`: an empty file open for writing, borrowed. `writer` outlives this.
  static StatusOr<std::unique_ptr<TarRecipeWriter>> Create(int recipe, LayerConsumer* writer);
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

// What a recipe's contents are read from; borrowed. One of them.
struct RecipeSource {
  int data = -1;  // open for reading
  int tree = -1;  // its root; only regular files are opened, and no link is followed
};

// Makes the archive again: `sink` gets its bytes in order, in pieces of at most 256 KiB. Files are
// read from their beginnings, whatever their offsets are. kDataLoss: the recipe is damaged or names
// what is not there; kResourceExhausted: it makes more than `max_bytes`; or what the sink returned.
Status RebuildTar(const RecipeSource& from, int recipe, uint64_t max_bytes,
                  absl::FunctionRef<Status(absl::string_view)> sink);

}  // namespace gantry::images
