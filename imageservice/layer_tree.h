// The directories of a layer being written: finds and makes them inside its root, and keeps what
// has to wait for the end.
//
// The root is a directory that nobody else can reach. Every step is one name below one descriptor,
// never followed; symbolic links that the layer itself made are resolved here, inside the root, as
// a container would see them.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

#include "imageservice/layer_rules.h"
#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

// A directory of the layer: a descriptor (O_PATH) and its real path below the root, empty for the
// root.
struct LayerDirectory {
  UniqueFd fd;
  std::string path;
  std::string Child(absl::string_view name) const;
};

// The mode of `name` below the directory `parent`, of a link itself where it is one (which the
// kernel refuses): fchmodat2(2) of Linux 6.6, before that through /proc/self/fd. Where there is no
// /proc either, as in the unpacker's chroot, a link would be followed, but leads out of nothing. As
// WriteError.
Status ChangeMode(int parent, const std::string& name, uint32_t mode);

class LayerTree {
 public:
  // `root` stays the caller's and open.
  LayerTree(int root, uint64_t max_inodes);

  // Opens the directory that `components` lead to. With `create` missing ones are made, 0755
  // root:root; else kNotFound. kInvalidArgument: something on the way is neither a directory nor a
  // link, or the links go in a circle.
  StatusOr<std::shared_ptr<const LayerDirectory>> Resolve(std::span<const std::string> components,
                                                          bool create);

  // Makes a directory in `parent` or takes the one that is there; anything else of that name makes
  // way. Over a whiteout it becomes opaque: both hide what the layers below have.
  Status MakeDirectory(const LayerDirectory& parent, const std::string& name);

  // Removes what `parent` has under the name, with all below it, and their opaque marks.
  Status Clear(const LayerDirectory& parent, const std::string& name);

  // True for an overlayfs whiteout, a character device 0:0; only we make those here.
  static bool IsWhiteout(int parent, const std::string& name);

  // True: a file, or a directory with all below it, was removed for a later entry of its name.
  bool content_replaced() const { return content_replaced_; }

  void MarkOpaque(const std::string& path) { opaque_.insert(path); }
  // Directory times are set at the end, since every entry below changes them.
  Status SetTime(const std::string& path, const TarTime& time);
  // Counts something that was made; kResourceExhausted over the limit.
  Status CountInode();

  // Sets the times; returns the opaque directories, sorted, as far as they are still there.
  StatusOr<std::vector<std::string>> Finish();

 private:
  struct Walk;
  Status Enter(Walk* walk, const std::string& name, bool create);
  Status EnterLink(Walk* walk, int link);
  Status MakeMissing(const Walk& walk, const std::string& name);

  const int root_;
  const uint64_t max_inodes_;
  uint64_t inodes_ = 0;
  size_t remembered_bytes_ = 0;
  bool content_replaced_ = false;
  // Valid as long as nothing is removed: what exists is never led elsewhere by what is added.
  absl::flat_hash_map<std::string, std::shared_ptr<const LayerDirectory>> known_;
  absl::flat_hash_map<std::string, TarTime> times_;
  std::set<std::string> opaque_;
};

}  // namespace gantry::images
