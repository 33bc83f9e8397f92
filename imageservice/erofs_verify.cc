#include "imageservice/erofs_verify.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "imageservice/crc32c.h"
#include "imageservice/erofs_inode.h"
#include "imageservice/erofs_reader.h"

namespace gantry::images {
namespace {

constexpr uint64_t kMaxInodes = 5'000'001;  // LayerWriterLimits, and the root
constexpr uint64_t kMaxNames = 10'000'001;  // entries of a tar, and directories they imply
constexpr uint32_t kLinkMode = S_IFLNK | 0777;

Status Bad(uint64_t nid, absl::string_view what) {
  return absl::DataLossError(absl::StrCat("inode ", nid, ": ", what));
}

class Verifier {
 public:
  explicit Verifier(ErofsReader* reader)
      : reader_(*reader), claimed_(reader->super().blocks * kSlotsInBlock) {}

  StatusOr<ErofsSummary> Verify() {
    RETURN_IF_ERROR(reader_.CheckMetaSum());
    RETURN_IF_ERROR(reader_.ReadSums().status());
    directories_.push_back({kErofsRoot, kErofsRoot});
    while (!directories_.empty()) {
      const Pending next = directories_.back();
      directories_.pop_back();
      RETURN_IF_ERROR(VerifyDirectory(next));
    }
    if (!links_.empty()) return Bad(links_.begin()->first, "fewer names than it has links");
    if (summary_.inodes != reader_.super().inodes) {
      return absl::DataLossError(absl::StrCat("superblock: ", reader_.super().inodes,
                                              " inodes where ", summary_.inodes, " are"));
    }
    summary_.data_bytes = reader_.footer().data_bytes;
    summary_.meta_bytes = reader_.meta_file_bytes();
    return summary_;
  }

 private:
  static constexpr uint64_t kSlotsInBlock = kErofsBlock / kErofsSlot;
  struct Pending {
    uint32_t nid, parent;
  };

  // Marks bytes of meta as taken; nothing may be taken twice, so that the work is bounded by meta.
  Status Claim(uint64_t nid, uint64_t at, uint64_t bytes) {
    const uint64_t first = at / kErofsSlot, end = (at + bytes + kErofsSlot - 1) / kErofsSlot;
    for (uint64_t slot = first; slot < end; ++slot) {
      if (claimed_[slot]) return Bad(nid, "in the place of something else");
      claimed_[slot] = true;
    }
    return absl::OkStatus();
  }

  // An inode on its first visit: it and all it has in meta.
  Status ClaimInode(const ErofsInode& inode) {
    if (++summary_.inodes > kMaxInodes) return Bad(inode.nid, "too many inodes");
    RETURN_IF_ERROR(Claim(inode.nid, inode.nid * kErofsSlot,
                          sizeof(ErofsInodeHead) + inode.xattr_bytes + inode.tail_bytes));
    return Claim(inode.nid, inode.first_block * kErofsBlock, inode.blocks * kErofsBlock);
  }

  Status VerifyDirectory(const Pending& pending) {
    ASSIGN_OR_RETURN(const ErofsInode inode, reader_.Inode(pending.nid));
    if (inode.type != ErofsType::kDirectory) return Bad(pending.nid, "no directory");
    RETURN_IF_ERROR(ClaimInode(inode));
    RETURN_IF_ERROR(VerifyXattrs(inode));
    uint32_t below = 0;
    int dots = 0;
    RETURN_IF_ERROR(reader_.List(inode, [&](const ErofsName& name) -> Status {
      if (name.name == "." || name.name == "..") {
        ++dots;
        const uint64_t right = name.name == "." ? pending.nid : pending.parent;
        const bool good = name.nid == right && name.type == ErofsType::kDirectory;
        return good ? absl::OkStatus() : Bad(pending.nid, "\".\" or \"..\" leads elsewhere");
      }
      if (name.type == ErofsType::kDirectory) ++below;
      const Status status = VerifyName(name, pending.nid);
      if (status.ok()) return status;
      return Annotate(status,
                      absl::StrCat("\"", absl::CHexEscape(name.name), "\" in inode ", pending.nid));
    }));
    if (dots != 2) return Bad(pending.nid, "no \".\" or no \"..\"");
    if (inode.nlink != below + 2) return Bad(pending.nid, "the number of links is wrong");
    return absl::OkStatus();
  }

  Status VerifyName(const ErofsName& name, uint32_t directory) {
    if (++names_ > kMaxNames) return Bad(directory, "too many names");
    ASSIGN_OR_RETURN(const ErofsInode inode, reader_.Inode(name.nid));
    if (inode.type != name.type) return Bad(name.nid, "of another type than its name says");
    if (inode.type == ErofsType::kDirectory) {
      directories_.push_back({static_cast<uint32_t>(name.nid), directory});
      return absl::OkStatus();
    }
    if (auto links = links_.find(name.nid); links != links_.end()) {
      if (--links->second == 0) links_.erase(links);
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(ClaimInode(inode));
    if (inode.nlink > 1) links_.emplace(inode.nid, inode.nlink - 1);
    return VerifyFile(inode);
  }

  Status VerifyFile(const ErofsInode& inode) {
    RETURN_IF_ERROR(VerifyXattrs(inode));
    if (inode.type == ErofsType::kSymlink) {
      if (inode.mode != kLinkMode) return Bad(inode.nid, "a symbolic link with permissions");
      return reader_.ReadLink(inode).status();
    }
    if (inode.type != ErofsType::kCharDevice || inode.device != 0) return absl::OkStatus();
    ++summary_.whiteouts;
    const bool good = inode.mode == S_IFCHR && inode.nlink == 1;
    return good ? absl::OkStatus() : Bad(inode.nid, "an unusual whiteout");
  }

  Status VerifyXattrs(const ErofsInode& inode) {
    if (inode.xattr_bytes == 0) return absl::OkStatus();
    const bool directory = inode.type == ErofsType::kDirectory;
    if (!directory && inode.type != ErofsType::kFile) return Bad(inode.nid, "attributes");
    ASSIGN_OR_RETURN(Xattrs xattrs, reader_.ReadXattrs(inode));
    Xattrs kept;
    for (auto& [name, value] : xattrs) {
      if (directory && name == kOpaqueXattr && value == "y") {
        ++summary_.opaque;
      } else if (IsKeptXattr(name, value, directory)) {
        kept.emplace_back(std::move(name), std::move(value));
      } else {
        return Bad(inode.nid, absl::StrCat("the attribute ", absl::CHexEscape(name)));
      }
    }
    if (XattrBytes(kept) > kMaxXattrBytes) return Bad(inode.nid, "too many attributes");
    return absl::OkStatus();
  }

  ErofsReader& reader_;
  std::vector<bool> claimed_;
  std::vector<Pending> directories_;
  absl::flat_hash_map<uint64_t, uint32_t> links_;  // names still to come
  uint64_t names_ = 0;
  ErofsSummary summary_;
};

// ---- data ----

Status BadMib(uint64_t mib) {
  return absl::DataLossError(absl::StrCat("data: MiB ", mib, " is not as it was written"));
}

// What data has of a MiB, zeros where it ends before. SyscallError.
Status ReadMib(int data, uint64_t mib, std::string* bytes) {
  bytes->assign(kErofsSumBytes, '\0');
  size_t at = 0;
  while (at < bytes->size()) {
    const ssize_t n = pread(data, bytes->data() + at, bytes->size() - at,
                            static_cast<off_t>(mib * kErofsSumBytes + at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SyscallError("pread", "data");
    if (n == 0) break;
    at += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

// MiB from `from` up to `end` were never written: holes, or at least zeros.
Status CheckHoles(int data, uint64_t from, uint64_t end) {
  std::string bytes;
  while (from < end) {
    const off_t at = lseek(data, static_cast<off_t>(from * kErofsSumBytes), SEEK_DATA);
    if (at < 0 && errno == ENXIO) return absl::OkStatus();
    if (at < 0) return SyscallError("lseek", "data");
    from = static_cast<uint64_t>(at) / kErofsSumBytes;
    if (from >= end) return absl::OkStatus();
    RETURN_IF_ERROR(ReadMib(data, from, &bytes));
    if (bytes.find_first_not_of('\0') != std::string::npos) return BadMib(from);
    ++from;
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<ErofsSummary> VerifyErofs(int meta, uint64_t data_bytes) {
  ASSIGN_OR_RETURN(auto reader, ErofsReader::Open(meta, -1));
  if (reader->footer().data_bytes != data_bytes) {
    return absl::DataLossError(
        absl::StrCat("data has ", data_bytes, " bytes instead of ", reader->footer().data_bytes));
  }
  return Verifier(reader.get()).Verify();
}

Status VerifyErofsData(int data, int meta) {
  ASSIGN_OR_RETURN(auto reader, ErofsReader::Open(meta, data));
  RETURN_IF_ERROR(reader->CheckMetaSum());
  struct stat st;
  if (fstat(data, &st) != 0) return SyscallError("fstat", "data");
  const uint64_t expected = reader->footer().data_bytes;
  if (static_cast<uint64_t>(st.st_size) != expected) {
    return absl::DataLossError(
        absl::StrCat("data has ", st.st_size, " bytes instead of ", expected));
  }
  ASSIGN_OR_RETURN(const std::vector<ErofsDataSum> sums, reader->ReadSums());
  std::string bytes;
  uint64_t next = 0;
  for (const ErofsDataSum& sum : sums) {
    RETURN_IF_ERROR(CheckHoles(data, next, sum.mib));
    RETURN_IF_ERROR(ReadMib(data, sum.mib, &bytes));
    if (Crc32c(bytes) != sum.sum) return BadMib(sum.mib);
    next = uint64_t{sum.mib} + 1;
  }
  return CheckHoles(data, next, (expected + kErofsSumBytes - 1) / kErofsSumBytes);
}

}  // namespace gantry::images
