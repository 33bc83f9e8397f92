// The names of a layer while its EROFS form is written: what LayerTree does with a directory tree,
// in memory. About 70 bytes for a name; nothing is looked at twice, whatever the archive says.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"

#include "imageservice/erofs_format.h"
#include "imageservice/layer_rules.h"
#include "runtime/base/status.h"

namespace gantry::images {

// One thread. Errors: kInvalidArgument, the entry is against the rules; kResourceExhausted, over a
// limit.
class ErofsTree {
 public:
  using Id = uint32_t;
  static constexpr Id kRoot = 0, kNone = UINT32_MAX;

  struct Attributes {
    uint32_t mode = 0755;
    uint32_t uid = 0, gid = 0;
    TarTime mtime;
  };
  struct Directory {
    Attributes attributes;
    Xattrs xattrs;
    // Of the writer: where its inode is, its blocks and what is left for the inode's tail.
    uint64_t at = 0;
    uint32_t first_block = 0, blocks = 0, tail = 0;
    uint64_t size = 0;
  };

  explicit ErofsTree(uint64_t max_inodes);
  ErofsTree(const ErofsTree&) = delete;
  ErofsTree& operator=(const ErofsTree&) = delete;

  // The directory that `components` lead to, links of the layer followed inside it. With `create`
  // missing ones are made, 0755 root:root; else kNotFound.
  StatusOr<Id> Resolve(std::span<const std::string> components, bool create);

  // What the directory has under the name (a whiteout too), or kNone.
  Id Find(Id directory, absl::string_view name) const;

  // Makes a directory or takes the one that is there; anything else of that name makes way. Over a
  // whiteout it becomes opaque: both hide what the layers below have.
  StatusOr<Id> MakeDirectory(Id parent, absl::string_view name);
  // kInvalidArgument: with what it has already, more than kMaxXattrBytes.
  Status SetAttributes(Id directory, const Attributes& attributes, const Xattrs& xattrs);

  // A new inode `nid` of another kind under the name; whatever was there goes, with all below it.
  // The target is kept for Resolve (symbolic links only).
  Status Put(Id parent, absl::string_view name, ErofsType type, uint32_t nid);
  Status PutSymlink(Id parent, absl::string_view name, uint32_t nid, absl::string_view target);
  // Whether a whiteout has its place under the name. Not over an entry of this layer: that one
  // stays, and hides what is below like any entry; a directory becomes opaque.
  bool TakesWhiteout(Id parent, absl::string_view name);
  Status PutWhiteout(Id parent, absl::string_view name, uint32_t nid);
  // Another name for what `target` is, no directory and no whiteout.
  Status Link(Id parent, absl::string_view name, Id target);

  void MarkOpaque(Id directory) { nodes_[directory].opaque = true; }

  // ---- for the writer, after the last entry ----

  // Sorts every directory's names by their bytes.
  void Sort();
  // Calls `visit(id)` for what is in the directory, in the order of Sort.
  template <typename Visit>
  void ForEach(Id directory, Visit visit) const {
    for (Id id = nodes_[directory].child; id != kNone; id = nodes_[id].next) visit(id);
  }
  absl::string_view name(Id id) const { return {nodes_[id].name, nodes_[id].name_length}; }
  ErofsType type(Id id) const { return nodes_[id].type; }
  bool opaque(Id id) const { return nodes_[id].opaque; }
  bool whiteout(Id id) const { return nodes_[id].whiteout; }
  Id parent(Id id) const { return nodes_[id].parent; }
  uint32_t nid(Id id) const { return nodes_[id].value; }  // no directory
  Directory& directory(Id id) { return directories_[nodes_[id].value]; }
  const Directory& directory(Id id) const { return directories_[nodes_[id].value]; }
  // Inodes with another number of names than one, and how many.
  const absl::flat_hash_map<uint32_t, uint32_t>& links() const { return links_; }
  // Inodes that have a name.
  uint64_t inodes() const { return live_inodes_; }

 private:
  struct Node {
    const char* name = nullptr;
    Id parent = kNone;
    Id next = kNone;     // in its directory
    Id child = kNone;    // the first in it
    uint32_t value = 0;  // a directory's place in directories_, else the inode's number
    ErofsType type = ErofsType::kNone;
    uint8_t name_length = 0;
    bool opaque = false;
    bool whiteout = false;
  };
  struct Key {
    Id parent;
    absl::string_view name;
  };
  // The set holds ids; it hashes and compares the names that nodes_ has for them.
  struct Hash {
    using is_transparent = void;
    const std::vector<Node>* nodes;
    size_t operator()(const Key& key) const { return absl::HashOf(key.parent, key.name); }
    size_t operator()(Id id) const { return (*this)(KeyOf(*nodes, id)); }
  };
  struct Equal {
    using is_transparent = void;
    const std::vector<Node>* nodes;
    bool operator()(const Key& a, Id b) const { return Same(a, KeyOf(*nodes, b)); }
    bool operator()(Id a, const Key& b) const { return Same(b, KeyOf(*nodes, a)); }
    bool operator()(Id a, Id b) const { return a == b; }
    static bool Same(const Key& a, const Key& b) {
      return a.parent == b.parent && a.name == b.name;
    }
  };
  static Key KeyOf(const std::vector<Node>& nodes, Id id) {
    return {nodes[id].parent, {nodes[id].name, nodes[id].name_length}};
  }
  struct Walk;

  Status Enter(Walk* walk, const std::string& name, bool create);
  StatusOr<Id> Slot(Id parent, absl::string_view name);
  StatusOr<Id> Add(Id parent, absl::string_view name);
  StatusOr<const char*> KeepName(absl::string_view name);
  void Empty(Id id);
  void ForgetInode(Id id);
  void ForgetDirectory(Id id);
  Status Count();
  Status Remember(size_t bytes);

  const uint64_t max_inodes_;
  uint64_t made_inodes_ = 0, live_inodes_ = 0;
  size_t remembered_ = 0;
  std::vector<Node> nodes_;
  std::vector<Id> free_nodes_;
  std::deque<Directory> directories_;
  std::vector<uint32_t> free_directories_;
  std::vector<std::unique_ptr<char[]>> names_;  // pieces of kNamePiece bytes
  size_t names_left_ = 0;
  absl::flat_hash_set<Id, Hash, Equal> index_;
  absl::flat_hash_map<uint32_t, uint32_t> links_;
  absl::flat_hash_map<uint32_t, std::string> targets_;  // by number of the link's inode
  // The last path resolved: entries of one directory come together. Valid until something goes.
  std::vector<std::string> last_path_;
  Id last_ = kNone;
};

}  // namespace gantry::images
