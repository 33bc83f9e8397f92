#include "imageservice/erofs_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <tuple>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "imageservice/crc32c.h"

namespace gantry::images {
namespace {

constexpr size_t kPiece = 1 << 20;
constexpr uint64_t kMaxTarget = 4095;
constexpr size_t kMaxName = 255;

Status Bad(absl::string_view what) { return absl::DataLossError(what); }
Status Bad(uint64_t nid, absl::string_view what) {
  return Bad(absl::StrCat("inode ", nid, ": ", what));
}

// All of it, or kDataLoss at the file's end.
Status ReadAt(int fd, uint64_t at, char* out, size_t length) {
  while (length > 0) {
    const ssize_t n = pread(fd, out, length, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SyscallError("pread");
    if (n == 0) return Bad(absl::StrCat("the file ends at ", at));
    out += n;
    at += static_cast<uint64_t>(n);
    length -= static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

template <typename T>
T Load(const char* at) {
  T value;
  memcpy(&value, at, sizeof(value));
  return value;
}

template <typename T>
bool AllZero(const T& bytes) {
  return std::all_of(std::begin(bytes), std::end(bytes), [](auto byte) { return byte == 0; });
}

ErofsType TypeOf(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return ErofsType::kFile;
    case S_IFDIR:
      return ErofsType::kDirectory;
    case S_IFCHR:
      return ErofsType::kCharDevice;
    case S_IFBLK:
      return ErofsType::kBlockDevice;
    case S_IFIFO:
      return ErofsType::kFifo;
    case S_IFLNK:
      return ErofsType::kSymlink;
    default:
      return ErofsType::kNone;
  }
}

bool IsGoodName(absl::string_view name) {
  return !name.empty() && name.size() <= kMaxName &&
         name.find_first_of(absl::string_view("/\0", 2)) == absl::string_view::npos;
}

}  // namespace

// ---- the whole ----

StatusOr<std::unique_ptr<ErofsReader>> ErofsReader::Open(int meta, int data) {
  std::unique_ptr<ErofsReader> reader(new ErofsReader(meta, data));
  struct stat st;
  if (fstat(meta, &st) != 0) return SyscallError("fstat");
  reader->file_bytes_ = static_cast<uint64_t>(st.st_size);
  RETURN_IF_ERROR_CONTEXT(reader->ReadSuper(), "superblock");
  RETURN_IF_ERROR_CONTEXT(reader->ReadFooter(), "footer");
  return reader;
}

Status ErofsReader::ReadSuper() {
  std::string block(kErofsBlock, '\0');
  RETURN_IF_ERROR(ReadAt(meta_, 0, block.data(), block.size()));
  super_ = Load<ErofsSuperBlock>(block.data() + kErofsSuperAt);
  device_ = Load<ErofsDevice>(block.data() + kErofsDeviceAt);
  ErofsSuperBlock unsummed = super_;
  unsummed.checksum = 0;
  memcpy(block.data() + kErofsSuperAt, &unsummed, sizeof(unsummed));
  const uint32_t sum = RawCrc32c(absl::string_view(block).substr(kErofsSuperAt), ~0u);
  if (super_.magic != kErofsMagic) return Bad("no EROFS");
  if (super_.checksum != sum) return Bad("wrong checksum");
  // What is left when the fields that differ between layers are taken out is always the same.
  ErofsSuperBlock expected = {};
  expected.magic = kErofsMagic;
  expected.feature_compat = kErofsCompat;
  expected.feature_incompat = kErofsIncompat;
  expected.block_bits = 12;
  expected.root_nid = kErofsRoot;
  expected.extra_devices = 1;
  expected.device_slot = kErofsDeviceAt / sizeof(ErofsDevice);
  expected.inodes = super_.inodes;
  expected.blocks = super_.blocks;
  memcpy(expected.uuid, super_.uuid, sizeof(expected.uuid));
  if (memcmp(&expected, &unsummed, sizeof(expected)) != 0) {
    return Bad("features or fields that our layers have not");
  }
  if (!AllZero(device_.tag) || device_.mapped_block != 0 || !AllZero(device_.reserved)) {
    return Bad("a device that is not ours");
  }
  const uint64_t bytes = super_.blocks * kErofsBlock;
  if (super_.blocks < 2 || bytes > kErofsMaxMeta || bytes > file_bytes_) {
    return Bad(absl::StrCat(super_.blocks, " blocks in a file of ", file_bytes_, " bytes"));
  }
  return absl::OkStatus();
}

Status ErofsReader::ReadFooter() {
  const uint64_t at = super_.blocks * kErofsBlock;
  RETURN_IF_ERROR(ReadAt(meta_, at, reinterpret_cast<char*>(&footer_), sizeof(footer_)));
  if (memcmp(footer_.magic, kErofsFooterMagic, sizeof(footer_.magic)) != 0 ||
      footer_.version != kErofsFooterVersion || footer_.reserved != 0) {
    return Bad("not ours");
  }
  const uint64_t sums = footer_.sums * sizeof(ErofsDataSum);
  if (file_bytes_ != at + sizeof(footer_) + sums + sizeof(uint32_t)) {
    return Bad(absl::StrCat("a file of ", file_bytes_, " bytes with ", footer_.sums, " sums"));
  }
  if (footer_.meta_bytes != at || footer_.inodes != super_.inodes ||
      footer_.data_bytes != device_.blocks * kErofsBlock) {
    return Bad("it contradicts the superblock");
  }
  if (footer_.sums > (footer_.data_bytes + kErofsSumBytes - 1) / kErofsSumBytes) {
    return Bad("more sums than data");
  }
  return CheckFooterSum();
}

Status ErofsReader::CheckFooterSum() {
  uint64_t at = footer_.meta_bytes;
  const uint64_t end = file_bytes_ - sizeof(uint32_t);
  std::string piece;
  uint32_t sum = 0, stored = 0;
  while (at < end) {
    piece.resize(static_cast<size_t>(std::min<uint64_t>(kPiece, end - at)));
    RETURN_IF_ERROR(ReadAt(meta_, at, piece.data(), piece.size()));
    sum = Crc32c(piece, sum);
    at += piece.size();
  }
  RETURN_IF_ERROR(ReadAt(meta_, end, reinterpret_cast<char*>(&stored), sizeof(stored)));
  return sum == stored ? absl::OkStatus() : Bad("wrong checksum");
}

Status ErofsReader::CheckMetaSum() {
  std::string piece;
  uint32_t sum = 0;
  for (uint64_t at = 0; at < footer_.meta_bytes; at += piece.size()) {
    piece.resize(static_cast<size_t>(std::min<uint64_t>(kPiece, footer_.meta_bytes - at)));
    RETURN_IF_ERROR(ReadAt(meta_, at, piece.data(), piece.size()));
    for (size_t block = 0; block < piece.size(); block += kErofsBlock) {
      const uint32_t of_block = Crc32c(absl::string_view(piece).substr(block, kErofsBlock));
      sum = Crc32c({reinterpret_cast<const char*>(&of_block), sizeof(of_block)}, sum);
    }
  }
  return sum == footer_.meta_sum ? absl::OkStatus() : Bad("meta: wrong checksum");
}

StatusOr<std::vector<ErofsDataSum>> ErofsReader::ReadSums() {
  std::vector<ErofsDataSum> sums(footer_.sums);
  RETURN_IF_ERROR(ReadAt(meta_, footer_.meta_bytes + sizeof(footer_),
                         reinterpret_cast<char*>(sums.data()), sums.size() * sizeof(sums[0])));
  for (size_t i = 0; i < sums.size(); ++i) {
    const bool rising = i == 0 || sums[i - 1].mib < sums[i].mib;
    if (!rising || sums[i].mib * kErofsSumBytes >= footer_.data_bytes) {
      return Bad("footer: the sums are in disorder");
    }
  }
  return sums;
}

// Valid until the next call.
StatusOr<const char*> ErofsReader::Block(uint64_t number) {
  if (number == 0 || number >= super_.blocks) {
    return Bad(absl::StrCat("block ", number, " of ", super_.blocks));
  }
  Cached& cached = cache_[number % kCached];
  if (cached.number != number) {
    cached.number = 0;
    cached.bytes.resize(kErofsBlock);
    RETURN_IF_ERROR(ReadAt(meta_, number * kErofsBlock, cached.bytes.data(), kErofsBlock));
    cached.number = number;
  }
  return cached.bytes.data();
}

// ---- inodes ----

StatusOr<ErofsInode> ErofsReader::Inode(uint64_t nid) {
  if (nid >= super_.blocks * (kErofsBlock / kErofsSlot)) return Bad(nid, "outside of meta");
  const size_t in_block = nid * kErofsSlot % kErofsBlock;
  ASSIGN_OR_RETURN(const char* block, Block(nid * kErofsSlot / kErofsBlock));
  if (in_block + sizeof(ErofsInodeHead) > kErofsBlock) return Bad(nid, "across two blocks");
  const auto head = Load<ErofsInodeHead>(block + in_block);
  ErofsInode inode;
  inode.nid = nid;
  inode.mode = head.mode;
  inode.uid = head.uid;
  inode.gid = head.gid;
  inode.mtime = {static_cast<int64_t>(head.seconds), head.nanoseconds};
  inode.nlink = head.nlink;
  inode.size = head.size;
  if (head.reserved != 0 || !AllZero(head.reserved2) || head.ino != nid) {
    return Bad(nid, "not as our writer fills it");
  }
  if (head.uid == UINT32_MAX || head.gid == UINT32_MAX || head.nlink == 0 ||
      head.seconds > static_cast<uint64_t>(kMaxLayerTime) || head.nanoseconds >= 1'000'000'000) {
    return Bad(nid, "owner, links or time out of range");
  }
  if (head.xattr_count > 0) {
    inode.xattr_bytes =
        static_cast<uint32_t>(sizeof(ErofsXattrHeader) + 4 * (head.xattr_count - 1u));
  }
  RETURN_IF_ERROR(FillType(head, &inode));
  RETURN_IF_ERROR(FillPlace(head, &inode));
  if (in_block + sizeof(head) + inode.xattr_bytes + inode.tail_bytes > kErofsBlock) {
    return Bad(nid, "attributes or content across the block's end");
  }
  if (inode.layout == ErofsLayout::kChunks) RETURN_IF_ERROR(FillChunk(head, &inode));
  return inode;
}

Status ErofsReader::FillType(const ErofsInodeHead& head, ErofsInode* inode) const {
  inode->type = TypeOf(head.mode);
  inode->layout = static_cast<ErofsLayout>(head.format >> 1);
  const bool plain = head.format == ErofsFormat(ErofsLayout::kPlain);
  const bool in_line = head.format == ErofsFormat(ErofsLayout::kInline);
  const bool chunks = head.format == ErofsFormat(ErofsLayout::kChunks);
  bool good = false;
  switch (inode->type) {
    case ErofsType::kNone:
      break;
    case ErofsType::kFile:
      good = (plain && head.size == 0) || (in_line && head.size > 0 && head.size < kErofsBlock) ||
             (chunks && head.size > 0 && head.size <= kErofsMaxFile);
      break;
    case ErofsType::kDirectory:
      good = (plain || in_line) && head.size > 0 && head.size <= kErofsMaxMeta;
      break;
    case ErofsType::kSymlink:
      good = (plain || in_line) && head.size > 0 && head.size <= kMaxTarget;
      break;
    default:
      good = plain && head.size == 0;
  }
  return good ? absl::OkStatus() : Bad(inode->nid, "type, layout and size do not go together");
}

Status ErofsReader::FillPlace(const ErofsInodeHead& head, ErofsInode* inode) {
  if (inode->type == ErofsType::kCharDevice || inode->type == ErofsType::kBlockDevice) {
    inode->device = head.place;
    return absl::OkStatus();
  }
  if (inode->layout == ErofsLayout::kChunks) {
    // The index stands at the next multiple of 8.
    const uint32_t before = sizeof(head) + inode->xattr_bytes;
    inode->tail_bytes = (before + 7) / 8 * 8 - before + sizeof(ErofsChunk);
    return absl::OkStatus();
  }
  const bool in_line = inode->layout == ErofsLayout::kInline;
  const uint64_t whole = head.size / kErofsBlock;
  const auto rest = static_cast<uint32_t>(head.size % kErofsBlock);
  if (in_line && rest == 0) return Bad(inode->nid, "no content behind it");
  inode->tail_bytes = in_line ? rest : 0;
  inode->blocks = static_cast<uint32_t>(whole + (!in_line && rest > 0 ? 1 : 0));
  inode->first_block = head.place;
  const uint64_t end = uint64_t{head.place} + inode->blocks;
  const bool good = inode->blocks == 0 ? head.place == 0 : head.place >= 2 && end <= super_.blocks;
  return good ? absl::OkStatus() : Bad(inode->nid, "blocks outside of meta");
}

Status ErofsReader::FillChunk(const ErofsInodeHead& head, ErofsInode* inode) {
  const uint64_t blocks = (head.size + kErofsBlock - 1) / kErofsBlock;
  if (head.place != (kErofsChunkIndexes | static_cast<uint32_t>(std::bit_width(blocks - 1)))) {
    return Bad(inode->nid, "not one chunk for the whole file");
  }
  const uint64_t at = inode->nid * kErofsSlot + sizeof(head) + inode->xattr_bytes +
                      inode->tail_bytes - sizeof(ErofsChunk);
  ASSIGN_OR_RETURN(const char* block, Block(at / kErofsBlock));
  const auto chunk = Load<ErofsChunk>(block + at % kErofsBlock);
  if (chunk.advise != 0 || chunk.device != 1) return Bad(inode->nid, "content on no known device");
  if (chunk.block + blocks > device_.blocks) return Bad(inode->nid, "content outside of data");
  inode->first_block = chunk.block;
  return absl::OkStatus();
}

StatusOr<Xattrs> ErofsReader::ReadXattrs(const ErofsInode& inode) {
  Xattrs xattrs;
  if (inode.xattr_bytes == 0) return xattrs;
  const uint64_t at = inode.nid * kErofsSlot + sizeof(ErofsInodeHead);
  ASSIGN_OR_RETURN(const char* block, Block(at / kErofsBlock));
  absl::string_view rest(block + at % kErofsBlock, inode.xattr_bytes);
  const auto header = Load<ErofsXattrHeader>(rest.data());
  if (header.name_filter != 0 || header.shared != 0 || !AllZero(header.reserved) ||
      rest.size() == sizeof(header)) {
    return Bad(inode.nid, "attributes that our writer does not write");
  }
  rest.remove_prefix(sizeof(header));
  std::tuple<uint8_t, std::string> last;
  while (!rest.empty()) {
    const auto entry = Load<ErofsXattrEntry>(rest.data());  // `rest` has a multiple of 4 bytes
    const size_t bytes = sizeof(entry) + entry.name_length + entry.value_length;
    const auto prefix =
        std::find_if(std::begin(kErofsXattrPrefixes), std::end(kErofsXattrPrefixes),
                     [&](const ErofsXattrPrefix& known) { return known.number == entry.prefix; });
    if (bytes > rest.size() || prefix == std::end(kErofsXattrPrefixes)) {
      return Bad(inode.nid, "a malformed attribute");
    }
    const absl::string_view name = rest.substr(sizeof(entry), entry.name_length);
    std::tuple<uint8_t, std::string> key(entry.prefix, name);
    if (last >= key) return Bad(inode.nid, "attributes in disorder");
    last = std::move(key);
    xattrs.emplace_back(absl::StrCat(prefix->text, name),
                        rest.substr(sizeof(entry) + name.size(), entry.value_length));
    rest.remove_prefix(std::min((bytes + 3) / 4 * 4, rest.size()));
  }
  return xattrs;
}

// ---- content ----

StatusOr<std::string> ErofsReader::DirectoryBlock(const ErofsInode& directory, uint32_t number) {
  if (number < directory.blocks) {
    const uint64_t length = std::min(kErofsBlock, directory.size - uint64_t{number} * kErofsBlock);
    ASSIGN_OR_RETURN(const char* block, Block(uint64_t{directory.first_block} + number));
    return std::string(block, static_cast<size_t>(length));
  }
  const uint64_t at = directory.nid * kErofsSlot + sizeof(ErofsInodeHead) + directory.xattr_bytes;
  ASSIGN_OR_RETURN(const char* block, Block(at / kErofsBlock));
  return std::string(block + at % kErofsBlock, directory.tail_bytes);
}

Status ErofsReader::List(const ErofsInode& directory,
                         absl::FunctionRef<Status(const ErofsName&)> visit) {
  if (directory.type != ErofsType::kDirectory) return Bad(directory.nid, "no directory");
  const uint32_t blocks = directory.blocks + (directory.tail_bytes > 0 ? 1 : 0);
  std::string last;
  for (uint32_t number = 0; number < blocks; ++number) {
    ASSIGN_OR_RETURN(const std::string block, DirectoryBlock(directory, number));
    const auto bad = [&](absl::string_view what) {
      return Bad(directory.nid, absl::StrCat("names of block ", number, ": ", what));
    };
    if (block.size() < sizeof(ErofsDirent)) return bad("too short");
    const size_t names_at = Load<ErofsDirent>(block.data()).name_at;
    if (names_at == 0 || names_at % sizeof(ErofsDirent) != 0 || names_at >= block.size()) {
      return bad("they start nowhere");
    }
    for (size_t at = 0; at < names_at; at += sizeof(ErofsDirent)) {
      const auto dirent = Load<ErofsDirent>(block.data() + at);
      const bool is_last = at + sizeof(dirent) == names_at;
      size_t end = block.size();
      if (!is_last) {
        end = Load<ErofsDirent>(block.data() + at + sizeof(dirent)).name_at;
      } else if (number + 1 < blocks) {
        // Zeros fill a block that is not the last.
        end = std::min(end, block.find('\0', std::min<size_t>(dirent.name_at, end)));
      }
      if (dirent.name_at < names_at || end > block.size() || end <= dirent.name_at ||
          dirent.reserved != 0) {
        return bad("places out of order");
      }
      const absl::string_view name(block.data() + dirent.name_at, end - dirent.name_at);
      if (!IsGoodName(name)) return bad("no name");
      if (last >= name) return bad("not sorted");
      last = std::string(name);
      RETURN_IF_ERROR(visit({name, dirent.nid, static_cast<ErofsType>(dirent.type)}));
    }
  }
  return absl::OkStatus();
}

StatusOr<std::string> ErofsReader::ReadLink(const ErofsInode& link) {
  if (link.type != ErofsType::kSymlink) return Bad(link.nid, "no symbolic link");
  const bool plain = link.layout == ErofsLayout::kPlain;
  const uint64_t at = plain ? link.first_block * kErofsBlock
                            : link.nid * kErofsSlot + sizeof(ErofsInodeHead) + link.xattr_bytes;
  ASSIGN_OR_RETURN(const char* block, Block(at / kErofsBlock));
  std::string target(block + at % kErofsBlock, static_cast<size_t>(link.size));
  if (target.find('\0') != std::string::npos) return Bad(link.nid, "a NUL in the target");
  return target;
}

StatusOr<std::string> ErofsReader::Read(const ErofsInode& file, uint64_t offset, size_t length) {
  if (file.type != ErofsType::kFile) return Bad(file.nid, "no regular file");
  if (offset >= file.size) return std::string();
  length = static_cast<size_t>(std::min<uint64_t>(length, file.size - offset));
  if (file.layout == ErofsLayout::kChunks) {
    std::string bytes(length, '\0');
    RETURN_IF_ERROR_CONTEXT(
        ReadAt(data_, file.first_block * kErofsBlock + offset, bytes.data(), length), "data");
    return bytes;
  }
  const uint64_t at = file.nid * kErofsSlot + sizeof(ErofsInodeHead) + file.xattr_bytes + offset;
  ASSIGN_OR_RETURN(const char* block, Block(at / kErofsBlock));
  return std::string(block + at % kErofsBlock, length);
}

}  // namespace gantry::images
