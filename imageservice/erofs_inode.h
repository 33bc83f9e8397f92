// The bytes of an inode and of a directory's blocks, as our writer lays them out.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

#include "imageservice/erofs_file.h"
#include "imageservice/erofs_format.h"
#include "imageservice/layer_rules.h"
#include "runtime/base/status.h"

namespace gantry::images {

inline constexpr absl::string_view kOpaqueXattr = "trusted.overlay.opaque";

struct ErofsNewInode {
  ErofsInodeHead head = {};  // without ino and xattr_count
  Xattrs xattrs;
  std::string tail;  // what follows inode and attributes: content, a target, a chunk's index
};

// An inode with type and permissions, owner and time; nlink 1, no content.
ErofsNewInode NewErofsInode(uint32_t mode, uint32_t uid, uint32_t gid, const TarTime& mtime);

// Bytes of the inode with attributes and tail: what ErofsMetaFile::Place wants to know.
size_t ErofsInodeBytes(const ErofsNewInode& inode);

// Those bytes, for an inode at `at`. The attributes are sorted by prefix and name.
std::string EncodeErofsInode(const ErofsNewInode& inode, uint64_t at);

// Appends it and returns its number.
StatusOr<uint32_t> AppendErofsInode(const ErofsNewInode& inode, ErofsMetaFile* meta);

// Gives it `size` bytes of content on the data device, from `block` on.
void PointAtData(ErofsNewInode* inode, uint64_t size, uint32_t block);

}  // namespace gantry::images
