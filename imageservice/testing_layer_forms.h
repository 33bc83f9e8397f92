// For tests: one archive in both forms of a layer, and what a tree contains as text, so that trees
// can be compared.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "imageservice/erofs_writer.h"
#include "imageservice/layer_writer.h"
#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

// Path below the root ("." for the root itself) → all that matters of it: type, mode, owner, time,
// attributes, links, content. Of a whiteout only its time.
using TreeListing = std::map<std::string, std::string>;

// Of a tree on a file system. `opaque`: paths that are to be shown with the attribute that only the
// EROFS form has of itself.
StatusOr<TreeListing> ListTree(int root, const std::vector<std::string>& opaque);

// The same of an EROFS image, by our reader.
StatusOr<TreeListing> ListErofs(int meta, int data);

// One line for each path on which two listings differ, at most ten; empty when they are equal.
std::string Difference(const TreeListing& expected, const TreeListing& found);

// The pieces of a line: shared with whatever else lists a layer.
struct TreeEntry {
  uint32_t mode = 0, uid = 0, gid = 0;
  int64_t seconds = 0;
  uint64_t nanoseconds = 0;
  uint64_t inode = 0, nlink = 0, size = 0, device = 0;
  std::map<std::string, std::string> xattrs;
  std::string link;
  uint32_t sum = 0;  // crc32c of a file's content
};
// `first_path` maps inode numbers to the first path seen; hard links are named by it.
std::string TreeLine(const TreeEntry& entry, const std::string& path,
                     std::map<uint64_t, std::string>* first_path);

// A scratch folder with an archive's forms: `fs/`, `data` and `meta`.
class LayerForms {
 public:
  LayerForms();
  ~LayerForms();
  LayerForms(const LayerForms&) = delete;
  LayerForms& operator=(const LayerForms&) = delete;

  StatusOr<LayerWriter::Result> WriteDirectory(absl::string_view tar);
  StatusOr<ErofsWriter::Result> WriteErofs(absl::string_view tar,
                                           const LayerWriterLimits& limits = {});
  // The EROFS form, mounted file-backed; detached, gone with the descriptor. `attributes`:
  // MOUNT_ATTR_*.
  StatusOr<UniqueFd> Mount() const;
  // Both forms, listed: directories, the mount, and what our reader sees. Empty when they are equal
  // and the verifier is content, else how they differ or what failed.
  std::string Compare(absl::string_view tar);

  const std::string& folder() const { return folder_; }
  std::string data() const { return folder_ + "/data"; }
  std::string meta() const { return folder_ + "/meta"; }
  std::string root() const { return folder_ + "/fs"; }
  UniqueFd OpenData() const;
  UniqueFd OpenMeta() const;
  std::string ReadMeta() const;

 private:
  std::string CompareRead(const TreeListing& expected) const;

  std::string folder_;
};

// A meta file whose checksums are right again after its bytes were changed: what somebody would
// write who wants to do harm.
std::string WithRightSums(std::string meta);

// False, with the reason printed, where this kernel cannot mount a file as EROFS.
bool CanMountErofs();

}  // namespace gantry::images
