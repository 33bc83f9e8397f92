// A streaming tar reader: bytes in, entries and their data out. It does no input or output of its
// own and keeps one block, one extended header and one sparse map in memory, whatever the archive
// says. Used for layers and for image archives.
//
// It reads V7, ustar, star, PAX ('x', 'g'), GNU long names ('L', 'K'), base-256 numbers and sparse
// files (GNU 'S', PAX 0.0, 0.1, 1.0). Where readers in use disagree about an archive it refuses
// rather than guesses: a header with a wrong checksum, a malformed PAX record, two extended headers
// or two different long names for one entry, digits behind the end of a number, a volume label or a
// name with a slash at its end that has data, bytes after the end.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

#include "imageservice/pax.h"
#include "imageservice/tar_header.h"
#include "runtime/base/status.h"

namespace gantry::images {

enum class TarType { kFile, kHardLink, kSymlink, kCharDevice, kBlockDevice, kDirectory, kFifo };

// One entry as the archive has it: names are bytes, neither cleaned nor trusted.
struct TarEntry {
  TarType type = TarType::kFile;
  std::string name;
  std::string link_target;    // kHardLink, kSymlink
  uint32_t mode = 0;          // 07777 at most
  uint32_t uid = 0, gid = 0;  // never 2^32-1, which the kernel takes for "leave it"
  uint64_t size = 0;          // kFile: the file's size, holes included
  TarTime mtime;
  uint64_t dev_major = 0, dev_minor = 0;
  std::vector<std::pair<std::string, std::string>> xattrs;
};

struct TarLimits {
  uint64_t max_bytes = 200ull << 30;    // of the archive
  uint64_t max_file_size = 8ull << 40;  // of one file, holes included
  uint64_t max_entries = 5'000'000;
  size_t max_name = 4096;
  size_t max_pax = 1 << 20;
  size_t max_sparse = 65536;  // runs of one file
};

// What takes the entries. An error returned here ends the reading and is handed on with the entry's
// name before it.
class TarConsumer {
 public:
  virtual ~TarConsumer() = default;
  virtual Status OnEntry(const TarEntry& entry) = 0;
  // Bytes of the last entry (kFile), in rising order; what is not delivered between 0 and its size
  // is zeros.
  virtual Status OnData(uint64_t offset, absl::string_view bytes) = 0;
  virtual Status OnEntryEnd() = 0;
  // What else the archive is made of (headers, padding, closing blocks): with what OnData gets,
  // every byte of it, in order.
  virtual Status OnStructure(absl::string_view bytes);
};

// One thread at a time; used once.
class TarReader {
 public:
  // `consumer` must outlive the reader.
  TarReader(TarConsumer* consumer, const TarLimits& limits);

  // Takes the next bytes of the archive, in pieces of any length. kInvalidArgument: not a good
  // archive; kResourceExhausted: over a limit; or what the consumer returned. After an error the
  // reader is done.
  Status Feed(absl::string_view bytes);

  // Call once after the last byte: kDataLoss when the archive ends inside an entry. An archive
  // without the closing blocks of zeros is accepted, as everywhere.
  Status Finish();

  uint64_t entries() const { return entries_; }

 private:
  enum class State { kHeader, kBody, kOldSparse, kPaxSparse, kData, kSkip, kZeroSeen, kEnded };

  Status Step(absl::string_view* in);
  Status OnBlock();
  Status OnHeader();
  Status OnEnd();
  Status TakeBody(absl::string_view* in);
  Status OnBody();
  Status TakeData(absl::string_view* in);
  Status TakeTrailing(absl::string_view* in);
  Status StartBody(uint64_t size);
  Status StartEntry(const TarHeader& header);
  Status SkipEntry(const TarHeader& header, uint64_t size);
  Status FillEntry(const TarHeader& header);
  Status FillNames(const TarHeader& header);
  Status FillOwner(const TarHeader& header);
  Status OnOldSparseBlock();
  Status OnPaxSparseBlock();
  Status TakeSparseNumber();
  Status FinishPaxSparse();
  Status CheckSegments() const;
  Status StartData();
  Status EndEntry();
  void Skip(uint64_t bytes);
  Status Context(const Status& status) const;

  TarConsumer* const consumer_;
  const TarLimits limits_;
  State state_ = State::kHeader;
  uint64_t total_ = 0;
  uint64_t entries_ = 0;

  std::string block_;   // the block being gathered
  char body_type_ = 0;  // x, g, L or K
  std::string body_;
  uint64_t body_left_ = 0;  // of the body itself
  uint64_t skip_left_ = 0;

  std::optional<PaxRecords> pax_;
  std::optional<std::string> long_name_, long_link_;

  TarEntry entry_;
  uint64_t stored_left_ = 0;  // bytes of the entry in the archive that are still to come
  uint64_t padding_ = 0;
  std::vector<TarSegment> segments_;
  size_t segment_ = 0;
  uint64_t segment_done_ = 0;
  std::string sparse_digits_;  // a number of a PAX 1.0 map, cut by a block's end
  std::vector<uint64_t> sparse_numbers_;
};

}  // namespace gantry::images
