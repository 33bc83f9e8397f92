// Reads a layer's EROFS form as ErofsWriter lays it out, and nothing else: every field is checked
// where it is read, so that any bytes give an answer or an error, in bounded time. For the
// verifier, for checks of a store, and for kernels that cannot mount it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

#include "imageservice/erofs_format.h"
#include "imageservice/layer_rules.h"
#include "runtime/base/status.h"

namespace gantry::images {

struct ErofsInode {
  uint64_t nid = 0;
  uint32_t mode = 0;  // with the type, as st_mode
  uint32_t uid = 0, gid = 0;
  TarTime mtime;
  uint32_t nlink = 0;
  uint64_t size = 0;
  ErofsType type = ErofsType::kNone;
  ErofsLayout layout = ErofsLayout::kPlain;
  uint32_t device = 0;       // of nodes, as the kernel's new_encode_dev; 0 of a whiteout
  uint32_t xattr_bytes = 0;  // behind the inode
  uint32_t tail_bytes = 0;   // behind those
  uint32_t first_block = 0;  // of `blocks` in meta, or of a file's content in data
  uint32_t blocks = 0;       // in meta
};

struct ErofsName {
  absl::string_view name;  // until the call returns
  uint64_t nid;
  ErofsType type;
};

// One thread. Errors: kDataLoss, the bytes are not what our writer writes: what and where;
// SyscallError, reading failed.
class ErofsReader {
 public:
  // Reads superblock and footer. Borrowed descriptors, read by pread; `data` may be -1 when no
  // content is wanted.
  static StatusOr<std::unique_ptr<ErofsReader>> Open(int meta, int data);

  const ErofsSuperBlock& super() const { return super_; }
  const ErofsFooter& footer() const { return footer_; }
  uint64_t meta_file_bytes() const { return file_bytes_; }  // with the footer
  // Reads all of the image: kDataLoss when its sum is not that of the footer.
  Status CheckMetaSum();
  // The sums of data, by rising number of MiB.
  StatusOr<std::vector<ErofsDataSum>> ReadSums();

  StatusOr<ErofsInode> Inode(uint64_t nid);
  StatusOr<Xattrs> ReadXattrs(const ErofsInode& inode);
  // The directory's names in their order, "." and ".." among them. Stops at the first error.
  Status List(const ErofsInode& directory, absl::FunctionRef<Status(const ErofsName&)> visit);
  StatusOr<std::string> ReadLink(const ErofsInode& link);
  // Bytes of a regular file; fewer than `length` only at its end.
  StatusOr<std::string> Read(const ErofsInode& file, uint64_t offset, size_t length);

 private:
  ErofsReader(int meta, int data) : meta_(meta), data_(data) {}

  Status ReadSuper();
  Status ReadFooter();
  Status CheckFooterSum();
  StatusOr<const char*> Block(uint64_t number);
  Status FillType(const ErofsInodeHead& head, ErofsInode* inode) const;
  Status FillPlace(const ErofsInodeHead& head, ErofsInode* inode);
  Status FillChunk(const ErofsInodeHead& head, ErofsInode* inode);
  StatusOr<std::string> DirectoryBlock(const ErofsInode& directory, uint32_t number);

  struct Cached {
    uint64_t number = 0;
    std::string bytes;
  };
  static constexpr size_t kCached = 256;

  const int meta_, data_;
  uint64_t file_bytes_ = 0;
  ErofsSuperBlock super_ = {};
  ErofsDevice device_ = {};
  ErofsFooter footer_ = {};
  std::vector<Cached> cache_{kCached};
};

}  // namespace gantry::images
