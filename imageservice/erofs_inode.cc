#include "imageservice/erofs_inode.h"

#include <algorithm>
#include <bit>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"

namespace gantry::images {
namespace {

constexpr size_t kXattrAlign = 4, kChunkAlign = 8;

template <typename T>
void AppendStruct(const T& value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

struct StoredXattr {
  uint8_t prefix;
  absl::string_view name, value;
};

std::vector<StoredXattr> Stored(const Xattrs& xattrs) {
  std::vector<StoredXattr> stored;
  for (const auto& [name, value] : xattrs) {
    for (const ErofsXattrPrefix& prefix : kErofsXattrPrefixes) {
      const absl::string_view text = prefix.text;
      if (!absl::StartsWith(name, text)) continue;
      stored.push_back({prefix.number, absl::string_view(name).substr(text.size()), value});
    }
  }
  std::sort(stored.begin(), stored.end(), [](const StoredXattr& a, const StoredXattr& b) {
    return std::tie(a.prefix, a.name) < std::tie(b.prefix, b.name);
  });
  return stored;
}

void AppendXattrs(const Xattrs& xattrs, std::string* out) {
  if (xattrs.empty()) return;
  AppendStruct(ErofsXattrHeader{}, out);
  for (const StoredXattr& xattr : Stored(xattrs)) {
    AppendStruct(ErofsXattrEntry{static_cast<uint8_t>(xattr.name.size()), xattr.prefix,
                                 static_cast<uint16_t>(xattr.value.size())},
                 out);
    out->append(xattr.name.data(), xattr.name.size());
    out->append(xattr.value.data(), xattr.value.size());
    out->resize((out->size() + kXattrAlign - 1) / kXattrAlign * kXattrAlign);
  }
}

}  // namespace

ErofsNewInode NewErofsInode(uint32_t mode, uint32_t uid, uint32_t gid, const TarTime& mtime) {
  const TarTime time = ClampedTime(mtime);
  ErofsNewInode inode;
  inode.head.format = ErofsFormat(ErofsLayout::kPlain);
  inode.head.mode = static_cast<uint16_t>(mode);
  inode.head.uid = uid;
  inode.head.gid = gid;
  inode.head.seconds = static_cast<uint64_t>(time.seconds);
  inode.head.nanoseconds = time.nanoseconds;
  inode.head.nlink = 1;
  return inode;
}

size_t ErofsInodeBytes(const ErofsNewInode& inode) {
  return sizeof(inode.head) + XattrBytes(inode.xattrs) + inode.tail.size();
}

std::string EncodeErofsInode(const ErofsNewInode& inode, uint64_t at) {
  ErofsInodeHead head = inode.head;
  head.ino = static_cast<uint32_t>(at / kErofsSlot);
  if (const size_t bytes = XattrBytes(inode.xattrs); bytes > 0) {
    head.xattr_count = static_cast<uint16_t>((bytes - sizeof(ErofsXattrHeader)) / kXattrAlign + 1);
  }
  std::string out;
  AppendStruct(head, &out);
  AppendXattrs(inode.xattrs, &out);
  return out + inode.tail;
}

StatusOr<uint32_t> AppendErofsInode(const ErofsNewInode& inode, ErofsMetaFile* meta) {
  const uint64_t at = meta->Place(ErofsInodeBytes(inode));
  RETURN_IF_ERROR(meta->Append(EncodeErofsInode(inode, at)).status());
  return static_cast<uint32_t>(at / kErofsSlot);
}

void PointAtData(ErofsNewInode* inode, uint64_t size, uint32_t block) {
  // The smallest chunk that holds the whole file, so that there is one index.
  const uint64_t blocks = (size + kErofsBlock - 1) / kErofsBlock;
  const auto bits = static_cast<uint32_t>(std::bit_width(blocks - 1));
  inode->head.format = ErofsFormat(ErofsLayout::kChunks);
  inode->head.size = size;
  inode->head.place = kErofsChunkIndexes | bits;
  const size_t before = sizeof(inode->head) + XattrBytes(inode->xattrs);
  inode->tail.assign((kChunkAlign - before % kChunkAlign) % kChunkAlign, '\0');
  AppendStruct(ErofsChunk{0, 1, block}, &inode->tail);
}

}  // namespace gantry::images
