#include "imageservice/erofs_directories.h"

#include <sys/stat.h>

#include <cstring>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"

#include "imageservice/erofs_inode.h"

namespace gantry::images {
namespace {

using Id = ErofsTree::Id;

struct Name {
  absl::string_view name;
  uint64_t nid;
  ErofsType type;
};

// A block of names that are sorted: all the dirents, then all the names.
class BlockBuilder {
 public:
  bool Fits(const Name& name) const {
    return bytes_ + sizeof(ErofsDirent) + name.name.size() <= kErofsBlock;
  }
  void Add(const Name& name) {
    bytes_ += sizeof(ErofsDirent) + name.name.size();
    names_.push_back(name);
  }
  size_t bytes() const { return bytes_; }
  void Clear() {
    names_.clear();
    bytes_ = 0;
  }
  std::string Encode() const {
    std::string out(bytes_, '\0');
    size_t dirent_at = 0, name_at = names_.size() * sizeof(ErofsDirent);
    for (const Name& name : names_) {
      const ErofsDirent dirent = {name.nid, static_cast<uint16_t>(name_at),
                                  static_cast<uint8_t>(name.type), 0};
      memcpy(out.data() + dirent_at, &dirent, sizeof(dirent));
      memcpy(out.data() + name_at, name.name.data(), name.name.size());
      dirent_at += sizeof(dirent);
      name_at += name.name.size();
    }
    return out;
  }

 private:
  std::vector<Name> names_;
  size_t bytes_ = 0;
};

class DirectoryWriter {
 public:
  DirectoryWriter(ErofsTree* tree, ErofsMetaFile* meta) : tree_(*tree), meta_(*meta) {}

  Status Write() {
    Collect();
    RETURN_IF_ERROR(Lay());
    for (Id id : order_) RETURN_IF_ERROR(WriteInode(id));
    meta_.FillBlock();
    for (Id id : order_) RETURN_IF_ERROR(WriteBlocks(id));
    return absl::OkStatus();
  }

 private:
  // All directories, a parent before what is in it.
  void Collect() {
    order_.push_back(ErofsTree::kRoot);
    for (size_t i = 0; i < order_.size(); ++i) {
      tree_.ForEach(order_[i], [&](Id child) {
        if (tree_.type(child) == ErofsType::kDirectory) order_.push_back(child);
      });
    }
  }

  // Decides where everything stands, before anything is written: names refer to each other.
  Status Lay() {
    uint64_t at = meta_.end();
    for (Id id : order_) {
      ErofsTree::Directory& directory = tree_.directory(id);
      Measure(id, &directory);
      const size_t bytes = ErofsInodeBytes(Inode(id)) + directory.tail;
      directory.at = id == ErofsTree::kRoot ? kErofsRootAt : ErofsPlaceAfter(at, bytes);
      if (id != ErofsTree::kRoot) at = directory.at + bytes;
    }
    uint64_t block = (at + kErofsBlock - 1) / kErofsBlock;
    for (Id id : order_) {
      ErofsTree::Directory& directory = tree_.directory(id);
      if (directory.blocks == 0) continue;
      directory.first_block = static_cast<uint32_t>(block);
      block += directory.blocks;
    }
    if (block * kErofsBlock <= kErofsMaxMeta) return absl::OkStatus();
    return absl::ResourceExhaustedError("the names of the layer need too much room");
  }

  // Full blocks stand by themselves; the last goes behind the inode when both fit one block.
  void Measure(Id id, ErofsTree::Directory* directory) {
    uint32_t blocks = 0;
    size_t last = 0;
    ForEachBlock(id, [&](const BlockBuilder& block, bool is_last) {
      ++blocks;
      if (is_last) last = block.bytes();
      return absl::OkStatus();
    }).IgnoreError();
    const bool fits = ErofsInodeBytes(Inode(id)) + last <= kErofsBlock;
    directory->tail = fits ? static_cast<uint32_t>(last) : 0;
    directory->blocks = fits ? blocks - 1 : blocks;
    directory->size = (blocks - 1) * kErofsBlock + last;
  }

  ErofsNewInode Inode(Id id) {
    const ErofsTree::Directory& directory = tree_.directory(id);
    const ErofsTree::Attributes& attributes = directory.attributes;
    ErofsNewInode inode =
        NewErofsInode(S_IFDIR | attributes.mode, attributes.uid, attributes.gid, attributes.mtime);
    inode.xattrs = directory.xattrs;
    if (tree_.opaque(id)) inode.xattrs.emplace_back(kOpaqueXattr, "y");
    return inode;
  }

  Status WriteInode(Id id) {
    const ErofsTree::Directory& directory = tree_.directory(id);
    ErofsNewInode inode = Inode(id);
    inode.head.format =
        ErofsFormat(directory.tail > 0 ? ErofsLayout::kInline : ErofsLayout::kPlain);
    inode.head.size = directory.size;
    inode.head.place = directory.first_block;
    inode.head.nlink = 2;
    tree_.ForEach(id, [&](Id child) {
      if (tree_.type(child) == ErofsType::kDirectory) ++inode.head.nlink;
    });
    if (directory.tail > 0) {
      RETURN_IF_ERROR(ForEachBlock(id, [&](const BlockBuilder& block, bool is_last) {
        if (is_last) inode.tail = block.Encode();
        return absl::OkStatus();
      }));
    }
    std::string bytes = EncodeErofsInode(inode, directory.at);
    if (id == ErofsTree::kRoot) {
      bytes.resize(kErofsBlock);
      return meta_.PutBlock(kErofsRootAt / kErofsBlock, bytes);
    }
    ASSIGN_OR_RETURN(const uint64_t at, meta_.Append(bytes));
    GANTRY_CHECK(at == directory.at);
    return absl::OkStatus();
  }

  Status WriteBlocks(Id id) {
    const ErofsTree::Directory& directory = tree_.directory(id);
    if (directory.blocks == 0) return absl::OkStatus();
    GANTRY_CHECK(meta_.end() == directory.first_block * kErofsBlock);
    return ForEachBlock(id, [&](const BlockBuilder& block, bool is_last) -> Status {
      if (is_last && directory.tail > 0) return absl::OkStatus();
      std::string bytes = block.Encode();
      bytes.resize(kErofsBlock);
      return meta_.Append(bytes).status();
    });
  }

  // The names of a directory, "." and ".." among them, in blocks.
  Status ForEachBlock(Id id,
                      absl::FunctionRef<Status(const BlockBuilder& block, bool is_last)> visit) {
    BlockBuilder block;
    Status status;
    const auto add = [&](const Name& name) {
      if (!status.ok()) return;
      if (!block.Fits(name)) {
        status = visit(block, false);
        block.Clear();
      }
      block.Add(name);
    };
    const Name dots[] = {{".", Nid(id), ErofsType::kDirectory},
                         {"..", Nid(tree_.parent(id)), ErofsType::kDirectory}};
    size_t dot = 0;
    tree_.ForEach(id, [&](Id child) {
      while (dot < 2 && dots[dot].name < tree_.name(child)) add(dots[dot++]);
      add({tree_.name(child), Nid(child), tree_.type(child)});
    });
    while (dot < 2) add(dots[dot++]);
    RETURN_IF_ERROR(status);
    return visit(block, true);
  }

  uint64_t Nid(Id id) const {
    if (tree_.type(id) != ErofsType::kDirectory) return tree_.nid(id);
    return tree_.directory(id).at / kErofsSlot;
  }

  ErofsTree& tree_;
  ErofsMetaFile& meta_;
  std::vector<Id> order_;
};

}  // namespace

Status WriteErofsDirectories(ErofsTree* tree, ErofsMetaFile* meta) {
  return DirectoryWriter(tree, meta).Write();
}

}  // namespace gantry::images
