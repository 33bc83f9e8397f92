#include "imageservice/erofs_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "imageservice/crc32c.h"

namespace gantry::images {
namespace {

constexpr uint64_t kCheckBytes = 16u << 20;
constexpr size_t kMetaGather = 256u << 10;
// A gap of so much is no hole: writing it is cheaper than two calls.
constexpr uint64_t kFilledGap = 32u << 10;
static_assert(kErofsSumBytes == BlockWriter::kBufferBytes);
static_assert(kErofsBlock % BlockWriter::kAlignment == 0);

uint64_t RoundUp(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

uint64_t ErofsPlaceAfter(uint64_t end, size_t bytes) {
  const uint64_t at = RoundUp(end, kErofsSlot);
  const bool crosses = at % kErofsBlock + bytes > kErofsBlock;
  return crosses ? RoundUp(at, kErofsBlock) : at;
}

Status FreeSpace::Use(uint64_t bytes) {
  since_check_ += bytes;
  if (since_check_ < kCheckBytes) return absl::OkStatus();
  since_check_ = 0;
  return CheckFreeSpace(fd_, limits_);
}

// ---- data ----

StatusOr<uint32_t> ErofsDataFile::Begin(uint64_t size) {
  if (size > kErofsMaxFile || size > kErofsMaxData - kErofsBlock - end_) {
    return absl::ResourceExhaustedError("the files of the layer are too big together");
  }
  begin_ = end_;
  end_ += RoundUp(size, kErofsBlock);
  return static_cast<uint32_t>(begin_ / kErofsBlock);
}

Status ErofsDataFile::Write(uint64_t offset, absl::string_view bytes) {
  uint64_t at = begin_ + offset;
  GANTRY_CHECK(at >= gathered_at_ + gathered_ && at + bytes.size() <= end_);
  RETURN_IF_ERROR(space_->Use(bytes.size()));
  while (!bytes.empty()) {
    const bool same_mib = at / kErofsSumBytes == gathered_at_ / kErofsSumBytes;
    const bool near = at <= RoundUp(gathered_at_ + gathered_, kErofsBlock) + kFilledGap;
    if (!same_mib || !near) RETURN_IF_ERROR(Flush());
    if (gathered_ == 0) gathered_at_ = at / kErofsBlock * kErofsBlock;
    FillTo(at);
    const auto room = static_cast<size_t>(kErofsSumBytes - at % kErofsSumBytes);
    const absl::string_view piece = bytes.substr(0, room);
    memcpy(blocks_.Buffer() + gathered_, piece.data(), piece.size());
    gathered_ += piece.size();
    if (piece.size() == room) RETURN_IF_ERROR(Flush());
    bytes.remove_prefix(piece.size());
    at += piece.size();
  }
  return absl::OkStatus();
}

void ErofsDataFile::FillTo(uint64_t at) {
  const auto size = static_cast<size_t>(at - gathered_at_);
  memset(blocks_.Buffer() + gathered_, 0, size - gathered_);
  gathered_ = size;
}

Status ErofsDataFile::Flush() {
  if (gathered_ == 0) return absl::OkStatus();
  FillTo(RoundUp(gathered_at_ + gathered_, kErofsBlock));
  Sum(gathered_at_, {blocks_.Buffer(), gathered_});
  RETURN_IF_ERROR(blocks_.Write(gathered_, gathered_at_));
  gathered_at_ += std::exchange(gathered_, 0);
  return absl::OkStatus();
}

void ErofsDataFile::Sum(uint64_t at, absl::string_view bytes) {
  const auto mib = static_cast<uint32_t>(at / kErofsSumBytes);
  if (!open_sum_ || sums_.back().mib != mib) {
    CloseSum();
    sums_.push_back({mib, 0});
    summed_to_ = mib * kErofsSumBytes;
    open_sum_ = true;
  }
  uint32_t& sum = sums_.back().sum;
  sum = Crc32c(bytes, Crc32cZeros(at - summed_to_, sum));
  summed_to_ = at + bytes.size();
}

void ErofsDataFile::CloseSum() {
  if (!open_sum_) return;
  const uint64_t end = (sums_.back().mib + 1) * kErofsSumBytes;
  sums_.back().sum = Crc32cZeros(end - summed_to_, sums_.back().sum);
  open_sum_ = false;
}

Status ErofsDataFile::Finish() {
  RETURN_IF_ERROR(Flush());
  CloseSum();
  RETURN_IF_ERROR(blocks_.Finish());
  if (ftruncate(fd_, static_cast<off_t>(end_)) != 0) return WriteError("ftruncate", "");
  return absl::OkStatus();
}

// ---- meta ----

ErofsMetaFile::ErofsMetaFile(int fd, FreeSpace* space) : fd_(fd), space_(space), sums_(2) {}

StatusOr<uint64_t> ErofsMetaFile::Append(absl::string_view piece) {
  GANTRY_CHECK(piece.size() <= kErofsBlock);
  const uint64_t at = Place(piece.size());
  if (at + piece.size() > kErofsMaxMeta - kErofsBlock) {
    return absl::ResourceExhaustedError("the names of the layer need too much room");
  }
  RETURN_IF_ERROR(space_->Use(piece.size()));
  gathered_.append(at - end(), '\0');
  gathered_.append(piece.data(), piece.size());
  if (gathered_.size() < kMetaGather) return at;
  // Whole blocks go, the rest stays.
  const size_t whole = gathered_.size() / kErofsBlock * kErofsBlock;
  RETURN_IF_ERROR(Put(flushed_, absl::string_view(gathered_).substr(0, whole)));
  flushed_ += whole;
  gathered_.erase(0, whole);
  return at;
}

Status ErofsMetaFile::Put(uint64_t at, absl::string_view bytes) {
  RETURN_IF_ERROR(WriteAt(fd_, at, bytes, ""));
  for (; !bytes.empty(); bytes.remove_prefix(kErofsBlock)) {
    sums_.push_back(Crc32c(bytes.substr(0, kErofsBlock)));
  }
  return absl::OkStatus();
}

void ErofsMetaFile::FillBlock() { gathered_.append(RoundUp(end(), kErofsBlock) - end(), '\0'); }

Status ErofsMetaFile::Patch(uint64_t at, uint32_t before, uint32_t after) {
  if (at >= flushed_) {
    memcpy(gathered_.data() + (at - flushed_), &after, sizeof(after));
    return absl::OkStatus();
  }
  // A crc is linear: the sum of the change alone is what the block's sum changes by.
  std::array<char, kErofsBlock> change = {};
  const uint32_t difference = before ^ after;
  const size_t in_block = at % kErofsBlock;
  memcpy(change.data() + in_block, &difference, sizeof(difference));
  sums_[at / kErofsBlock] ^= RawCrc32c({change.data() + in_block, kErofsBlock - in_block}, 0);
  return WriteAt(fd_, at, {reinterpret_cast<const char*>(&after), sizeof(after)}, "");
}

Status ErofsMetaFile::PutBlock(uint32_t block, absl::string_view bytes) {
  GANTRY_CHECK(block < 2 && bytes.size() == kErofsBlock);
  sums_[block] = Crc32c(bytes);
  return WriteAt(fd_, block * kErofsBlock, bytes, "");
}

Status ErofsMetaFile::Flush() {
  FillBlock();
  RETURN_IF_ERROR(Put(flushed_, gathered_));
  flushed_ += gathered_.size();
  gathered_.clear();
  return absl::OkStatus();
}

Status ErofsMetaFile::PutFooter(absl::string_view bytes) { return WriteAt(fd_, end(), bytes, ""); }

uint32_t ErofsMetaFile::Sum(size_t first) const {
  return Crc32c({reinterpret_cast<const char*>(sums_.data() + first),
                 (sums_.size() - first) * sizeof(sums_[0])});
}

}  // namespace gantry::images
