#include "imageservice/archive_index.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "imageservice/inflate.h"
#include "imageservice/layer_reader.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kPiece = 256 << 10;
constexpr uint64_t kMaxFiles = 100'000;
constexpr int kMaxLinks = 8;

// "./a//b/../c" as "a/c"; nothing that leads out.
std::string CleanName(absl::string_view name) {
  std::vector<absl::string_view> parts;
  for (const absl::string_view part : absl::StrSplit(name, '/', absl::SkipEmpty())) {
    if (part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else if (!parts.empty()) {
      parts.pop_back();
    }
  }
  return absl::StrJoin(parts, "/");
}

// pread(2) of exactly `size` bytes.
Status ReadExactly(int fd, char* data, size_t size, uint64_t offset) {
  while (size > 0) {
    const ssize_t got = pread(fd, data, size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SyscallError("pread", "image archive");
    if (got == 0) return absl::DataLossError("the image archive is cut short");
    data += got;
    size -= static_cast<size_t>(got);
    offset += static_cast<uint64_t>(got);
  }
  return absl::OkStatus();
}

// Notes the entry that a header announced.
class EntryNote : public TarConsumer {
 public:
  Status OnEntry(const TarEntry& entry) override {
    if (last.has_value()) return absl::InvalidArgumentError("a sparse file in an image archive");
    last = entry;
    return absl::OkStatus();
  }
  Status OnData(uint64_t, absl::string_view) override { return absl::OkStatus(); }
  Status OnEntryEnd() override { return absl::OkStatus(); }

  std::optional<TarEntry> last;
};

Status ReadSome(int fd, std::vector<char>& buffer, size_t* size) {
  ssize_t got;
  do {
    got = read(fd, buffer.data(), buffer.size());
  } while (got < 0 && errno == EINTR);
  if (got < 0) return SyscallError("read", "image archive");
  *size = static_cast<size_t>(got);
  return absl::OkStatus();
}

}  // namespace

StatusOr<ArchiveIndex> ArchiveIndex::Read(int archive) {
  struct stat info;
  if (fstat(archive, &info) != 0) return SyscallError("fstat", "image archive");
  const auto end = static_cast<uint64_t>(info.st_size);
  static const std::array<char, kPiece> kZeros{};
  ArchiveIndex index;
  EntryNote note;
  TarReader reader(&note, {.max_bytes = end + kBlock, .max_entries = kMaxFiles});
  for (uint64_t at = 0; at + kBlock <= end;) {
    std::array<char, kBlock> block;
    RETURN_IF_ERROR(ReadExactly(archive, block.data(), block.size(), at));
    RETURN_IF_ERROR(reader.Feed(absl::string_view(block.data(), block.size())));
    at += kBlock;
    if (!note.last.has_value()) continue;
    const TarEntry entry = *note.last;
    const std::string name = CleanName(entry.name);
    if (entry.type == TarType::kSymlink) {
      index.links_[name] = CleanName(absl::StrCat(name, "/../", entry.link_target));
    } else if (entry.type == TarType::kHardLink) {
      index.links_[name] = CleanName(entry.link_target);
    }
    // The reader needs bytes of this length, not these bytes: what a file holds is read when it is
    // wanted.
    uint64_t left = 0;
    if (entry.type == TarType::kFile) {
      if (entry.size > end - at) return absl::DataLossError("the image archive is cut short");
      index.files_[name] = {at, entry.size};
      left = (entry.size + kBlock - 1) / kBlock * kBlock;
    }
    at += left;
    for (; left > 0; left -= std::min<uint64_t>(left, kPiece)) {
      RETURN_IF_ERROR(
          reader.Feed(absl::string_view(kZeros.data(), std::min<uint64_t>(left, kPiece))));
    }
    note.last.reset();
  }
  RETURN_IF_ERROR(reader.Finish());
  return index;
}

StatusOr<ArchiveFile> ArchiveIndex::Find(const std::string& name) const {
  std::string current = CleanName(name);
  for (int hops = 0; hops <= kMaxLinks; ++hops) {
    if (const auto file = files_.find(current); file != files_.end()) return file->second;
    const auto link = links_.find(current);
    if (link == links_.end()) break;
    current = link->second;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the image archive has no file \"", CleanName(name), "\""));
}

Status ReadArchiveFile(int archive, const ArchiveFile& file,
                       const std::function<Status(std::span<const char>)>& sink) {
  std::vector<char> buffer(kPiece);
  for (uint64_t done = 0; done < file.size;) {
    const size_t size = std::min<uint64_t>(file.size - done, buffer.size());
    RETURN_IF_ERROR(ReadExactly(archive, buffer.data(), size, file.offset + done));
    RETURN_IF_ERROR(sink(std::span<const char>(buffer.data(), size)));
    done += size;
  }
  return absl::OkStatus();
}

bool IsPlainFile(int archive) {
  struct stat info;
  if (fstat(archive, &info) != 0 || !S_ISREG(info.st_mode)) return false;
  if (lseek(archive, 0, SEEK_CUR) != 0) return false;
  std::array<unsigned char, 4> magic{};
  if (pread(archive, magic.data(), magic.size(), 0) != static_cast<ssize_t>(magic.size()))
    return true;
  const bool gzip = magic[0] == 0x1f && magic[1] == 0x8b;
  const bool zstd = magic[0] == 0x28 && magic[1] == 0xb5 && magic[2] == 0x2f && magic[3] == 0xfd;
  return !gzip && !zstd;
}

Status SpoolArchive(int archive, int spool) {
  Inflater inflater(InflateLimits{});
  const auto write = [spool](absl::string_view bytes) {
    const Status status = WriteAll(spool, bytes, "image archive's copy");
    if (ErrnoOf(status) == ENOSPC)
      return absl::ResourceExhaustedError("no space to copy the image archive");
    return status;
  };
  std::vector<char> buffer(kPiece);
  for (;;) {
    size_t size = 0;
    RETURN_IF_ERROR(ReadSome(archive, buffer, &size));
    if (size == 0) return inflater.Finish(write);
    RETURN_IF_ERROR(inflater.Feed(absl::string_view(buffer.data(), size), write));
  }
}

}  // namespace gantry::images
