#include "imageservice/erofs_writer.h"

#include <sys/stat.h>

#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "imageservice/crc32c.h"
#include "imageservice/erofs_directories.h"

namespace gantry::images {
namespace {

using Id = ErofsTree::Id;

// Smaller files stand behind their inode.
constexpr uint64_t kMaxInline = 2048;
// From here on they do not: meta is for names.
constexpr uint64_t kMaxMetaWithContent = 256u << 20;

Status Bad(absl::string_view why) { return absl::InvalidArgumentError(why); }

// As the kernel's new_encode_dev.
uint32_t EncodeDevice(uint64_t major, uint64_t minor) {
  return static_cast<uint32_t>((minor & 0xff) | major << 8 | (minor & ~0xffull) << 12);
}

}  // namespace

ErofsWriter::ErofsWriter(int data, int meta, const LayerWriterLimits& limits)
    : space_(data, limits), data_(data, &space_), meta_(meta, &space_), tree_(limits.max_inodes) {}

Status ErofsWriter::OnEntry(const TarEntry& entry) {
  open_ = Open::kNone;
  ASSIGN_OR_RETURN(LayerPath path, CleanLayerPath(entry.name));
  if (path.kind == LayerName::kIgnored) return absl::OkStatus();
  ASSIGN_OR_RETURN(parent_, tree_.Resolve(path.parents, /*create=*/true));
  switch (path.kind) {
    case LayerName::kRoot:
      // umoci's CVE-2021-29136: a root that is a link or a file.
      if (entry.type != TarType::kDirectory) return Bad("the root of the layer is no directory");
      return WriteDirectory(ErofsTree::kRoot, entry);
    case LayerName::kOpaque:
      tree_.MarkOpaque(parent_);
      return absl::OkStatus();
    case LayerName::kWhiteout:
      return WriteWhiteout(path.name);
    default:
      break;
  }
  switch (entry.type) {
    case TarType::kDirectory: {
      ASSIGN_OR_RETURN(const Id id, tree_.MakeDirectory(parent_, path.name));
      return WriteDirectory(id, entry);
    }
    case TarType::kHardLink:
      return WriteHardLink(path.name, entry);
    case TarType::kSymlink:
      return WriteSymlink(path.name, entry);
    case TarType::kFile:
      return OpenFile(path.name, entry);
    default:
      return WriteNode(path.name, entry);
  }
}

Status ErofsWriter::WriteWhiteout(const std::string& name) {
  if (!tree_.TakesWhiteout(parent_, name)) return absl::OkStatus();
  // Character device 0:0.
  ASSIGN_OR_RETURN(const uint32_t nid,
                   AppendErofsInode(NewErofsInode(S_IFCHR, 0, 0, TarTime()), &meta_));
  return tree_.PutWhiteout(parent_, name, nid);
}

Status ErofsWriter::WriteDirectory(Id directory, const TarEntry& entry) {
  ASSIGN_OR_RETURN(const Xattrs xattrs, KeptXattrs(entry));
  return tree_.SetAttributes(directory,
                             {entry.mode, entry.uid, entry.gid, ClampedTime(entry.mtime)}, xattrs);
}

Status ErofsWriter::WriteHardLink(const std::string& name, const TarEntry& entry) {
  auto target = CleanLayerPath(entry.link_target);
  if (!target.ok()) return Annotate(target.status(), "hard link target");
  if (target->kind != LayerName::kOrdinary) return Bad("hard link to a directory or whiteout");
  const std::string shown = absl::CHexEscape(entry.link_target.substr(0, 256));
  auto directory = tree_.Resolve(target->parents, /*create=*/false);
  if (!directory.ok() && !absl::IsNotFound(directory.status())) return directory.status();
  const Id to = directory.ok() ? tree_.Find(*directory, target->name) : ErofsTree::kNone;
  if (to == ErofsTree::kNone || tree_.whiteout(to)) {
    return Bad(
        absl::StrCat("hard link to \"", shown, "\", which is no earlier entry of this layer"));
  }
  if (tree_.type(to) == ErofsType::kDirectory) {
    return Bad(absl::StrCat("hard link to the directory \"", shown, "\""));
  }
  return tree_.Link(parent_, name, to);
}

Status ErofsWriter::WriteSymlink(const std::string& name, const TarEntry& entry) {
  const std::string& target = entry.link_target;
  RETURN_IF_ERROR(CheckSymlinkTarget(target));
  ErofsNewInode inode = NewErofsInode(S_IFLNK | 0777, entry.uid, entry.gid, entry.mtime);
  inode.head.size = target.size();
  if (ErofsInodeBytes(inode) + target.size() <= kErofsBlock) {
    inode.head.format = ErofsFormat(ErofsLayout::kInline);
    inode.tail = target;
  } else {
    std::string block = target;
    block.resize(kErofsBlock);
    ASSIGN_OR_RETURN(const uint64_t at, meta_.Append(block));
    inode.head.place = static_cast<uint32_t>(at / kErofsBlock);
  }
  ASSIGN_OR_RETURN(const uint32_t nid, AppendErofsInode(inode, &meta_));
  return tree_.PutSymlink(parent_, name, nid, target);
}

Status ErofsWriter::WriteNode(const std::string& name, const TarEntry& entry) {
  RETURN_IF_ERROR(CheckDevice(entry));
  const auto [mode, type] = entry.type == TarType::kFifo ? std::pair(S_IFIFO, ErofsType::kFifo)
                            : entry.type == TarType::kCharDevice
                                ? std::pair(S_IFCHR, ErofsType::kCharDevice)
                                : std::pair(S_IFBLK, ErofsType::kBlockDevice);
  ErofsNewInode inode =
      NewErofsInode(static_cast<uint32_t>(mode) | entry.mode, entry.uid, entry.gid, entry.mtime);
  if (type != ErofsType::kFifo) inode.head.place = EncodeDevice(entry.dev_major, entry.dev_minor);
  ASSIGN_OR_RETURN(const uint32_t nid, AppendErofsInode(inode, &meta_));
  return tree_.Put(parent_, name, type, nid);
}

// ---- files ----

Status ErofsWriter::OpenFile(const std::string& name, const TarEntry& entry) {
  inode_ = NewErofsInode(S_IFREG | entry.mode, entry.uid, entry.gid, entry.mtime);
  ASSIGN_OR_RETURN(inode_.xattrs, KeptXattrs(entry));
  name_ = name;
  const bool small = entry.size <= kMaxInline && meta_.end() < kMaxMetaWithContent &&
                     ErofsInodeBytes(inode_) + entry.size <= kErofsBlock;
  if (small) {
    open_ = Open::kInMemory;
    inode_.head.size = entry.size;
    if (entry.size > 0) inode_.head.format = ErofsFormat(ErofsLayout::kInline);
    inode_.tail.resize(entry.size);
    return absl::OkStatus();
  }
  if (entry.size == 0) {
    open_ = Open::kInMemory;
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const uint32_t block, data_.Begin(entry.size));
  PointAtData(&inode_, entry.size, block);
  open_ = Open::kInData;
  place_ = uint64_t{block} * kErofsBlock;
  return absl::OkStatus();
}

std::optional<ContentPlace> ErofsWriter::Place() const {
  if (open_ != Open::kInData) return std::nullopt;
  return ContentPlace{"", place_};
}

Status ErofsWriter::OnData(uint64_t offset, absl::string_view bytes) {
  if (open_ == Open::kInData) return data_.Write(offset, bytes);
  if (open_ == Open::kNone) return absl::OkStatus();  // of a whiteout or of aufs
  if (offset > inode_.tail.size() || bytes.size() > inode_.tail.size() - offset) {
    return Bad("more content than the entry's size");
  }
  memcpy(inode_.tail.data() + offset, bytes.data(), bytes.size());
  return absl::OkStatus();
}

Status ErofsWriter::OnEntryEnd() {
  if (std::exchange(open_, Open::kNone) == Open::kNone) return absl::OkStatus();
  ASSIGN_OR_RETURN(const uint32_t nid, AppendErofsInode(inode_, &meta_));
  return tree_.Put(parent_, name_, ErofsType::kFile, nid);
}

// ---- the end ----

StatusOr<ErofsWriter::Result> ErofsWriter::Finish() {
  RETURN_IF_ERROR(data_.Finish());
  RETURN_IF_ERROR(PatchLinks());
  tree_.Sort();
  RETURN_IF_ERROR(WriteErofsDirectories(&tree_, &meta_));
  RETURN_IF_ERROR(meta_.Flush());
  RETURN_IF_ERROR(WriteSuperBlock());
  Result result;
  ASSIGN_OR_RETURN(result.meta_bytes, WriteFooter());
  result.data_bytes = data_.bytes();
  result.inodes = tree_.inodes();
  return result;
}

// Files were written with one name each.
Status ErofsWriter::PatchLinks() {
  for (const auto& [nid, links] : tree_.links()) {
    if (links == 1) continue;
    RETURN_IF_ERROR(meta_.Patch(nid * kErofsSlot + kErofsNlinkAt, 1, links));
  }
  return absl::OkStatus();
}

Status ErofsWriter::WriteSuperBlock() {
  ErofsSuperBlock super = {};
  super.magic = kErofsMagic;
  super.feature_compat = kErofsCompat;
  super.feature_incompat = kErofsIncompat;
  super.block_bits = 12;
  super.root_nid = kErofsRoot;
  super.inodes = tree_.inodes();
  super.blocks = static_cast<uint32_t>(meta_.end() / kErofsBlock);
  super.extra_devices = 1;
  super.device_slot = kErofsDeviceAt / sizeof(ErofsDevice);
  ErofsDevice device = {};
  device.blocks = static_cast<uint32_t>(data_.bytes() / kErofsBlock);
  // Of the content, so that equal layers are equal and others differ (RFC 9562, version 8):
  // overlayfs tells its layers apart by this.
  const absl::string_view sums(reinterpret_cast<const char*>(data_.sums().data()),
                               data_.sums().size() * sizeof(ErofsDataSum));
  const uint32_t words[4] = {meta_.Sum(1), Crc32c(sums), super.blocks, device.blocks};
  memcpy(super.uuid, words, sizeof(super.uuid));
  super.uuid[6] = static_cast<uint8_t>((super.uuid[6] & 0x0f) | 0x80);
  super.uuid[8] = static_cast<uint8_t>((super.uuid[8] & 0x3f) | 0x80);
  std::string block(kErofsBlock, '\0');
  memcpy(block.data() + kErofsSuperAt, &super, sizeof(super));
  memcpy(block.data() + kErofsDeviceAt, &device, sizeof(device));
  super.checksum = RawCrc32c(absl::string_view(block).substr(kErofsSuperAt), ~0u);
  memcpy(block.data() + kErofsSuperAt, &super, sizeof(super));
  return meta_.PutBlock(0, block);
}

StatusOr<uint64_t> ErofsWriter::WriteFooter() {
  ErofsFooter footer = {};
  memcpy(footer.magic, kErofsFooterMagic, sizeof(footer.magic));
  footer.version = kErofsFooterVersion;
  footer.sums = static_cast<uint32_t>(data_.sums().size());
  footer.data_bytes = data_.bytes();
  footer.meta_bytes = meta_.end();
  footer.inodes = tree_.inodes();
  footer.meta_sum = meta_.Sum(0);
  std::string bytes(reinterpret_cast<const char*>(&footer), sizeof(footer));
  bytes.append(reinterpret_cast<const char*>(data_.sums().data()),
               data_.sums().size() * sizeof(ErofsDataSum));
  const uint32_t own = Crc32c(bytes);
  bytes.append(reinterpret_cast<const char*>(&own), sizeof(own));
  RETURN_IF_ERROR(meta_.PutFooter(bytes));
  return meta_.end() + bytes.size();
}

}  // namespace gantry::images
