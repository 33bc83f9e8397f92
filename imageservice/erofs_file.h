// The two files of a layer while they are written: gathered in memory, summed up on the way, never
// read back (so a writer needs no right to read).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "imageservice/block_writer.h"
#include "imageservice/erofs_format.h"
#include "imageservice/layer_rules.h"
#include "runtime/base/status.h"

namespace gantry::images {

// Where a piece of `bytes` (at most a block) stands after `end`: at a slot, crossing no block's
// end.
uint64_t ErofsPlaceAfter(uint64_t end, size_t bytes);

// Stops before the disk is full: tell it what is going to be written.
class FreeSpace {
 public:
  // `fd` is borrowed.
  FreeSpace(int fd, const LayerWriterLimits& limits) : fd_(fd), limits_(limits) {}
  // kResourceExhausted when too little is left; looks every 16 MiB.
  Status Use(uint64_t bytes);

 private:
  const int fd_;
  const LayerWriterLimits limits_;
  uint64_t since_check_ = 0;
};

// `data`: contents, one after the other, in whole blocks. Borrowed descriptor. A thread of its own
// writes while the next bytes are made: an error may be that of bytes before.
class ErofsDataFile {
 public:
  ErofsDataFile(int fd, FreeSpace* space) : fd_(fd), space_(space), blocks_(fd) {}

  // The block where a file of `size` bytes has its place; kResourceExhausted when there is none.
  StatusOr<uint32_t> Begin(uint64_t size);
  // Bytes of that file, in rising order; gaps of more than 32 KiB stay holes.
  Status Write(uint64_t offset, absl::string_view bytes);
  // Call once: writes what is gathered and gives the file its length, a multiple of a block.
  Status Finish();

  uint64_t bytes() const { return end_; }
  // By rising number; complete after Finish.
  const std::vector<ErofsDataSum>& sums() const { return sums_; }

 private:
  // Zeros behind what is gathered, and in front of what will be.
  void FillTo(uint64_t at);
  Status Flush();
  void Sum(uint64_t at, absl::string_view bytes);
  void CloseSum();

  const int fd_;
  FreeSpace* const space_;
  uint64_t begin_ = 0, end_ = 0;  // of the file being written; the end is that of data so far
  uint64_t gathered_at_ = 0;      // where the writer's buffer goes: a block's begin
  size_t gathered_ = 0;           // contiguous, and inside one MiB
  std::vector<ErofsDataSum> sums_;
  uint64_t summed_to_ = 0;  // in the MiB of the last sum
  bool open_sum_ = false;
  BlockWriter blocks_;  // last: its thread ends first
};

// `meta`: a stream of small pieces, and blocks 0 and 1 at the end. Borrowed descriptor.
class ErofsMetaFile {
 public:
  ErofsMetaFile(int fd, FreeSpace* space);

  // Where Append would put a piece of so many bytes.
  uint64_t Place(size_t bytes) const { return ErofsPlaceAfter(end(), bytes); }
  // Puts the piece there. kResourceExhausted: kErofsMaxMeta is reached.
  StatusOr<uint64_t> Append(absl::string_view piece);
  // Zeros up to the next block.
  void FillBlock();
  // Gives a number in what was appended another value.
  Status Patch(uint64_t at, uint32_t before, uint32_t after);
  // Blocks 0 and 1.
  Status PutBlock(uint32_t block, absl::string_view bytes);
  // Call once after the last block, before block 0: writes what is gathered.
  Status Flush();
  // Behind the blocks.
  Status PutFooter(absl::string_view bytes);

  uint64_t end() const { return flushed_ + gathered_.size(); }
  // crc32c over the crc32c of the blocks from `first` on.
  uint32_t Sum(size_t first) const;

 private:
  Status Put(uint64_t at, absl::string_view bytes);

  const int fd_;
  FreeSpace* const space_;
  std::string gathered_;
  uint64_t flushed_ = 2 * kErofsBlock;
  std::vector<uint32_t> sums_;  // of each block
};

}  // namespace gantry::images
