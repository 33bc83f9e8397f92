#include "imageservice/erofs_tree.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace gantry::images {
namespace {

constexpr size_t kNamePiece = 64u << 10;
constexpr size_t kMaxName = 255;
constexpr size_t kMaxRemembered = 512u << 20;
constexpr size_t kIndexBytes = 8;  // of one name in a hash table, about

Status Bad(absl::string_view why) { return absl::InvalidArgumentError(why); }

}  // namespace

// Where a resolution stands, and the names still to go (last first).
struct ErofsTree::Walk {
  Id at = kRoot;
  std::vector<std::string> todo;
  int links = 0;
  size_t steps = 0;
};

ErofsTree::ErofsTree(uint64_t max_inodes)
    : max_inodes_(max_inodes), index_(0, Hash{&nodes_}, Equal{&nodes_}) {
  directories_.emplace_back();
  nodes_.push_back({.parent = kRoot, .type = ErofsType::kDirectory});
  live_inodes_ = 1;
}

// ---- finding ----

StatusOr<ErofsTree::Id> ErofsTree::Resolve(std::span<const std::string> components, bool create) {
  if (last_ != kNone &&
      std::equal(components.begin(), components.end(), last_path_.begin(), last_path_.end())) {
    return last_;
  }
  Walk walk;
  walk.todo.assign(components.rbegin(), components.rend());
  while (!walk.todo.empty()) {
    if (++walk.steps > kMaxLayerSteps) return Bad("the links on the way are too long");
    const std::string name = std::move(walk.todo.back());
    walk.todo.pop_back();
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      walk.at = nodes_[walk.at].parent;
      continue;
    }
    RETURN_IF_ERROR(Enter(&walk, name, create));
  }
  last_path_.assign(components.begin(), components.end());
  last_ = walk.at;
  return walk.at;
}

Status ErofsTree::Enter(Walk* walk, const std::string& name, bool create) {
  const Id id = Find(walk->at, name);
  if (id == kNone || nodes_[id].whiteout) {
    if (!create) {
      return absl::NotFoundError(
          absl::StrCat("\"", absl::CHexEscape(name), "\" is not in this layer"));
    }
    ASSIGN_OR_RETURN(walk->at, MakeDirectory(walk->at, name));
    return absl::OkStatus();
  }
  if (nodes_[id].type == ErofsType::kDirectory) {
    walk->at = id;
    return absl::OkStatus();
  }
  if (nodes_[id].type != ErofsType::kSymlink) {
    return Bad(absl::StrCat("\"", absl::CHexEscape(name), "\" on the way is no directory"));
  }
  if (++walk->links > kMaxLayerLinks) return Bad("too many links on the way");
  const std::string& target = targets_[nodes_[id].value];
  if (target[0] == '/') walk->at = kRoot;
  const std::vector<std::string> parts = absl::StrSplit(target, '/');
  walk->todo.insert(walk->todo.end(), parts.rbegin(), parts.rend());
  return absl::OkStatus();
}

ErofsTree::Id ErofsTree::Find(Id directory, absl::string_view name) const {
  const auto it = index_.find(Key{directory, name});
  return it == index_.end() ? kNone : *it;
}

// ---- adding ----

StatusOr<ErofsTree::Id> ErofsTree::MakeDirectory(Id parent, absl::string_view name) {
  const Id old = Find(parent, name);
  if (old != kNone && nodes_[old].type == ErofsType::kDirectory) return old;
  const bool over_whiteout = old != kNone && nodes_[old].whiteout;
  ASSIGN_OR_RETURN(const Id id, Slot(parent, name));
  RETURN_IF_ERROR(Count());
  RETURN_IF_ERROR(Remember(sizeof(Directory)));
  if (free_directories_.empty()) {
    nodes_[id].value = static_cast<uint32_t>(directories_.size());
    directories_.emplace_back();
  } else {
    nodes_[id].value = free_directories_.back();
    free_directories_.pop_back();
  }
  nodes_[id].type = ErofsType::kDirectory;
  nodes_[id].opaque = over_whiteout;
  return id;
}

Status ErofsTree::SetAttributes(Id id, const Attributes& attributes, const Xattrs& xattrs) {
  Directory& at = directory(id);
  at.attributes = attributes;
  for (const auto& xattr : xattrs) {
    auto same = std::find_if(at.xattrs.begin(), at.xattrs.end(),
                             [&](const auto& old) { return old.first == xattr.first; });
    if (same != at.xattrs.end()) {
      same->second = xattr.second;
    } else {
      RETURN_IF_ERROR(Remember(sizeof(xattr) + xattr.first.size() + xattr.second.size()));
      at.xattrs.push_back(xattr);
    }
  }
  if (XattrBytes(at.xattrs) <= kMaxXattrBytes) return absl::OkStatus();
  return Bad(absl::StrCat("more than ", kMaxXattrBytes, " bytes of extended attributes"));
}

Status ErofsTree::Put(Id parent, absl::string_view name, ErofsType type, uint32_t nid) {
  ASSIGN_OR_RETURN(const Id id, Slot(parent, name));
  nodes_[id].type = type;
  nodes_[id].value = nid;
  return Count();
}

Status ErofsTree::PutSymlink(Id parent, absl::string_view name, uint32_t nid,
                             absl::string_view target) {
  RETURN_IF_ERROR(Put(parent, name, ErofsType::kSymlink, nid));
  targets_[nid] = std::string(target);
  return Remember(sizeof(std::string) + kIndexBytes + target.size());
}

bool ErofsTree::TakesWhiteout(Id parent, absl::string_view name) {
  const Id old = Find(parent, name);
  if (old == kNone) return true;
  if (nodes_[old].type == ErofsType::kDirectory) MarkOpaque(old);
  return false;
}

Status ErofsTree::PutWhiteout(Id parent, absl::string_view name, uint32_t nid) {
  RETURN_IF_ERROR(Put(parent, name, ErofsType::kCharDevice, nid));
  nodes_[Find(parent, name)].whiteout = true;
  return absl::OkStatus();
}

Status ErofsTree::Link(Id parent, absl::string_view name, Id target) {
  const uint32_t nid = nodes_[target].value;
  const ErofsType type = nodes_[target].type;
  const Id old = Find(parent, name);
  if (old != kNone && nodes_[old].type != ErofsType::kDirectory && !nodes_[old].whiteout &&
      nodes_[old].value == nid) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const Id id, Slot(parent, name));
  if (nodes_[target].type == ErofsType::kNone) {
    return Bad("a hard link in place of the directory that its target is in");
  }
  auto [links, first] = links_.try_emplace(nid, 1);
  ++links->second;
  if (first) RETURN_IF_ERROR(Remember(sizeof(*links) + 1));
  nodes_[id].type = type;
  nodes_[id].value = nid;
  return absl::OkStatus();
}

// An empty node under the name: a new one, or what was there without all it had.
StatusOr<ErofsTree::Id> ErofsTree::Slot(Id parent, absl::string_view name) {
  const Id old = Find(parent, name);
  if (old == kNone) return Add(parent, name);
  Empty(old);
  return old;
}

StatusOr<ErofsTree::Id> ErofsTree::Add(Id parent, absl::string_view name) {
  if (name.size() > kMaxName) return Bad("a component of more than 255 bytes");
  ASSIGN_OR_RETURN(const char* kept, KeepName(name));
  Id id = static_cast<Id>(nodes_.size());
  if (free_nodes_.empty()) {
    nodes_.emplace_back();
  } else {
    id = free_nodes_.back();
    free_nodes_.pop_back();
  }
  nodes_[id] = {.name = kept,
                .parent = parent,
                .next = nodes_[parent].child,
                .name_length = static_cast<uint8_t>(name.size())};
  nodes_[parent].child = id;
  index_.insert(id);
  return id;
}

StatusOr<const char*> ErofsTree::KeepName(absl::string_view name) {
  RETURN_IF_ERROR(Remember(sizeof(Node) + kIndexBytes + name.size()));
  if (names_left_ < name.size()) {
    names_.push_back(std::make_unique<char[]>(kNamePiece));
    names_left_ = kNamePiece;
  }
  char* at = names_.back().get() + (kNamePiece - names_left_);
  memcpy(at, name.data(), name.size());
  names_left_ -= name.size();
  return at;
}

// ---- taking away ----

// Leaves the node with its name alone. What was below is gone through once and never again.
void ErofsTree::Empty(Id id) {
  last_ = kNone;
  std::vector<Id> below;
  const auto take = [&](Id node) {
    for (Id child = nodes_[node].child; child != kNone; child = nodes_[child].next) {
      below.push_back(child);
    }
    if (nodes_[node].type == ErofsType::kDirectory) {
      ForgetDirectory(node);
    } else {
      ForgetInode(node);
    }
  };
  take(id);
  while (!below.empty()) {
    const Id node = below.back();
    below.pop_back();
    take(node);
    index_.erase(node);
    nodes_[node] = Node();
    free_nodes_.push_back(node);
  }
  nodes_[id].child = kNone;
  nodes_[id].type = ErofsType::kNone;
  nodes_[id].opaque = nodes_[id].whiteout = false;
}

void ErofsTree::ForgetDirectory(Id id) {
  directory(id) = Directory();
  free_directories_.push_back(nodes_[id].value);
  --live_inodes_;
}

void ErofsTree::ForgetInode(Id id) {
  const uint32_t nid = nodes_[id].value;
  if (auto links = links_.find(nid); links != links_.end()) {
    if (--links->second > 0) return;
    links_.erase(links);
  }
  targets_.erase(nid);
  --live_inodes_;
}

Status ErofsTree::Count() {
  ++live_inodes_;
  if (++made_inodes_ <= max_inodes_) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("more than ", max_inodes_, " files"));
}

Status ErofsTree::Remember(size_t bytes) {
  remembered_ += bytes;
  if (remembered_ <= kMaxRemembered) return absl::OkStatus();
  return absl::ResourceExhaustedError("the names of the layer need too much memory");
}

// ---- the end ----

void ErofsTree::Sort() {
  std::vector<Id> names;
  for (Node& node : nodes_) {
    if (node.type != ErofsType::kDirectory || node.child == kNone) continue;
    names.clear();
    for (Id id = node.child; id != kNone; id = nodes_[id].next) names.push_back(id);
    std::sort(names.begin(), names.end(), [&](Id a, Id b) { return name(a) < name(b); });
    node.child = names.front();
    for (size_t i = 0; i < names.size(); ++i) {
      nodes_[names[i]].next = i + 1 < names.size() ? names[i + 1] : kNone;
    }
  }
}

}  // namespace gantry::images
