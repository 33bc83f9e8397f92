#include "imageservice/blob_spool.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace gantry::images {
namespace {

constexpr char kMagic[8] = {'G', 'S', 'P', 'O', 'O', 'L', '0', '2'};
constexpr off_t kRecordStep = 4096;
constexpr uint64_t kBehindStep = 8 << 20;
constexpr size_t kReplayStep = 256 << 10;

// As on disk: this machine's byte order, which never leaves it.
struct Record {
  char magic[8];
  uint64_t sequence;
  char digest[144];  // "sha512:" and 128 digits, padded with zeros
  char boot[40];
  char registry[64];  // sha256 of its name, in digits
  uint64_t size;
  uint64_t length;  // of the bytes that are durable, and were hashed to `words`
  uint64_t words[8];
  char checksum[64];  // sha256 of all before it, in digits
};
static_assert(sizeof(Record) == 408 && sizeof(Record) <= kRecordStep);

std::string Sha256Digits(absl::string_view bytes) {
  return DigestOf(bytes)->substr(strlen("sha256:"));
}

std::string ChecksumOf(const Record& record) {
  return Sha256Digits({reinterpret_cast<const char*>(&record), offsetof(Record, checksum)});
}

bool WriteAllAt(int file, std::span<const char> bytes, off_t at) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(file, bytes.data(), bytes.size(), at);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(written));
    at += written;
  }
  return true;
}

std::optional<Record> ReadRecord(int file, off_t at) {
  Record record;
  if (pread(file, &record, sizeof(record), at) != sizeof(record)) return std::nullopt;
  if (memcmp(record.magic, kMagic, sizeof(kMagic)) != 0) return std::nullopt;
  if (memcmp(record.checksum, ChecksumOf(record).data(), sizeof(record.checksum)) != 0)
    return std::nullopt;
  record.digest[sizeof(record.digest) - 1] = record.boot[sizeof(record.boot) - 1] = '\0';
  return record;
}

void Copy(absl::string_view text, std::span<char> field) {
  memcpy(field.data(), text.data(), std::min(text.size(), field.size() - 1));
}

}  // namespace

std::unique_ptr<BlobSpool> BlobSpool::Open(UniqueFd file, const SpooledBlob& blob,
                                           const std::string& boot) {
  std::unique_ptr<BlobSpool> spool(new BlobSpool(std::move(file), blob, boot));
  if (!spool->ReadBack()) {
    spool->length_ = 0;
    spool->midstate_.reset();
  }
  spool->behind_ = spool->length_ / kBehindStep * kBehindStep;
  // What lies behind the bytes that count would be taken for theirs later.
  const auto end = static_cast<off_t>(kSpoolData + spool->length_);
  if (ftruncate(spool->file_.get(), end) != 0 || !spool->WriteRecord(spool->midstate_))
    spool->Drop();
  return spool;
}

bool BlobSpool::ReadBack() {
  struct stat info;
  const auto a = ReadRecord(file_.get(), 0);
  const auto b = ReadRecord(file_.get(), kRecordStep);
  if ((!a.has_value() && !b.has_value()) || fstat(file_.get(), &info) != 0) return false;
  const Record& record = !b.has_value() || (a.has_value() && a->sequence > b->sequence) ? *a : *b;
  const uint64_t there =
      static_cast<uint64_t>(std::max<off_t>(info.st_size, kSpoolData)) - kSpoolData;
  const std::string registry = Sha256Digits(blob_.registry);
  if (blob_.digest != record.digest || record.size != blob_.size || record.length > there ||
      memcmp(record.registry, registry.data(), sizeof(record.registry)) != 0)
    return false;
  sequence_ = record.sequence;
  const bool same_boot = !boot_.empty() && boot_ == record.boot;
  length_ = same_boot ? there : record.length;
  if (record.length > 0) {
    midstate_.emplace();
    midstate_->bytes = record.length;
    std::copy(std::begin(record.words), std::end(record.words), midstate_->words.begin());
  }
  return length_ <= blob_.size;
}

bool BlobSpool::WriteRecord(const std::optional<DigestMidstate>& midstate) {
  Record record = {};
  memcpy(record.magic, kMagic, sizeof(kMagic));
  record.sequence = ++sequence_;
  Copy(blob_.digest, record.digest);
  Copy(boot_, record.boot);
  memcpy(record.registry, Sha256Digits(blob_.registry).data(), sizeof(record.registry));
  record.size = blob_.size;
  if (midstate.has_value()) {
    record.length = midstate->bytes;
    std::copy(midstate->words.begin(), midstate->words.end(), record.words);
  }
  memcpy(record.checksum, ChecksumOf(record).data(), sizeof(record.checksum));
  const off_t at = sequence_ % 2 == 0 ? 0 : kRecordStep;
  const std::span<const char> bytes(reinterpret_cast<const char*>(&record), sizeof(record));
  return WriteAllAt(file_.get(), bytes, at);
}

Status BlobSpool::Replay(const std::function<Status(std::span<const char>)>& take) {
  std::vector<char> buffer(kReplayStep);
  const uint64_t border = midstate_.has_value() ? midstate_->bytes : 0;
  for (uint64_t at = 0; at < length_;) {
    const uint64_t stop = at < border ? border : length_;
    const size_t size = static_cast<size_t>(std::min<uint64_t>(stop - at, buffer.size()));
    const ssize_t got =
        pread(file_.get(), buffer.data(), size, static_cast<off_t>(kSpoolData + at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      Drop();
      return absl::DataLossError("what an earlier pull left of the blob cannot be read");
    }
    RETURN_IF_ERROR(take(std::span<const char>(buffer.data(), static_cast<size_t>(got))));
    at += static_cast<uint64_t>(got);
    if (at % kBehindStep < kReplayStep)
      posix_fadvise(file_.get(), 0, static_cast<off_t>(kSpoolData + at), POSIX_FADV_DONTNEED);
  }
  return absl::OkStatus();
}

void BlobSpool::Append(std::span<const char> bytes, const Digester& digester) {
  if (dropped()) return;
  if (!WriteAllAt(file_.get(), bytes, static_cast<off_t>(kSpoolData + length_))) return Drop();
  length_ += bytes.size();
  if (length_ - behind_ >= kBehindStep) WriteBehind();
  if (length_ % kSpoolMark != 0) return;
  const std::optional<DigestMidstate> midstate = digester.Midstate();
  GANTRY_CHECK(midstate.has_value() && midstate->bytes == length_);
  // The bytes first: a record must never vouch for what a power cut can take away.
  if (fdatasync(file_.get()) != 0 || !WriteRecord(midstate)) Drop();
}

// The disk is kept busy from the start, so that fdatasync has little left to do, and the cache free
// of bytes that nobody reads.
void BlobSpool::WriteBehind() {
  const auto at = static_cast<off64_t>(kSpoolData + behind_);
  const auto step = static_cast<off64_t>(kBehindStep);
  sync_file_range(file_.get(), at, static_cast<off64_t>(length_ - behind_), SYNC_FILE_RANGE_WRITE);
  if (behind_ >= kBehindStep) {
    sync_file_range(
        file_.get(), at - step, step,
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    posix_fadvise(file_.get(), 0, at, POSIX_FADV_DONTNEED);
  }
  behind_ = length_;
}

void BlobSpool::Drop() {
  if (dropped()) return;
  static_cast<void>(ftruncate(file_.get(), 0));
  file_.Reset();
  length_ = 0;
  midstate_.reset();
}

}  // namespace gantry::images
