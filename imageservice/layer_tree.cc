#include "imageservice/layer_tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "imageservice/tree_walk.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

constexpr size_t kMaxKnown = 128;  // descriptors kept of directories seen lately
constexpr size_t kMaxRemembered = 256u << 20;
constexpr long kFchmodat2 = 452;  // on every architecture; glibc 2.36 has no name for it
constexpr int kPathDirectory = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

}  // namespace

std::string LayerDirectory::Child(absl::string_view name) const {
  return path.empty() ? std::string(name) : absl::StrCat(path, "/", name);
}

// Where a resolution stands: the directories from the root down, and the names still to go (last
// first).
struct LayerTree::Walk {
  std::vector<std::pair<std::string, UniqueFd>> at;
  std::vector<std::string> todo;
  int links = 0;
  size_t steps = 0;
  int root = -1;

  int fd() const { return at.empty() ? root : at.back().second.get(); }
  std::string Path() const {
    return absl::StrJoin(at, "/", [](std::string* out, const auto& step) { *out += step.first; });
  }
  void Push(std::string name, UniqueFd fd) { at.emplace_back(std::move(name), std::move(fd)); }
};

Status ChangeMode(int parent, const std::string& name, uint32_t mode) {
  if (syscall(kFchmodat2, parent, name.c_str(), mode, AT_SYMLINK_NOFOLLOW) == 0) {
    return absl::OkStatus();
  }
  if (errno != ENOSYS) return WriteError("chmod", name);
  const UniqueFd node(openat(parent, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat st = {};
  if (!node.valid() || fstat(node.get(), &st) != 0) return WriteError("chmod", name);
  if (S_ISLNK(st.st_mode)) return SyscallError("chmod", name, EOPNOTSUPP);
  if (fchmodat(AT_FDCWD, FdPath(node.get()).c_str(), mode, 0) == 0) return absl::OkStatus();
  if (errno == ENOENT && fchmodat(parent, name.c_str(), mode, 0) == 0) return absl::OkStatus();
  return WriteError("chmod", name);
}

LayerTree::LayerTree(int root, uint64_t max_inodes) : root_(root), max_inodes_(max_inodes) {
  times_[""] = TarTime();
}

StatusOr<std::shared_ptr<const LayerDirectory>> LayerTree::Resolve(
    std::span<const std::string> components, bool create) {
  const std::string key = absl::StrJoin(components.begin(), components.end(), "/");
  if (auto it = known_.find(key); it != known_.end()) return it->second;
  Walk walk;
  walk.root = root_;
  walk.todo.assign(components.rbegin(), components.rend());
  while (!walk.todo.empty()) {
    if (++walk.steps > kMaxLayerSteps) {
      return absl::InvalidArgumentError("the links on the way are too long");
    }
    const std::string name = std::move(walk.todo.back());
    walk.todo.pop_back();
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      if (!walk.at.empty()) walk.at.pop_back();
      continue;
    }
    RETURN_IF_ERROR(Enter(&walk, name, create));
  }
  auto found = std::make_shared<LayerDirectory>();
  found->path = walk.Path();
  found->fd.Reset(walk.at.empty() ? openat(root_, ".", kPathDirectory)
                                  : walk.at.back().second.Release());
  if (!found->fd.valid()) return SyscallError("open", found->path);
  if (known_.size() >= kMaxKnown) known_.clear();
  known_[key] = found;
  return found;
}

Status LayerTree::Enter(Walk* walk, const std::string& name, bool create) {
  UniqueFd fd(openat(walk->fd(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid() && errno != ENOENT) return WriteError("open", name);
  struct stat st = {};
  if (fd.valid() && fstat(fd.get(), &st) != 0) return SyscallError("fstat", name);
  if (fd.valid() && S_ISLNK(st.st_mode)) return EnterLink(walk, fd.get());
  const bool missing = !fd.valid() || (S_ISCHR(st.st_mode) && st.st_rdev == 0);
  if (missing && !create) {
    return absl::NotFoundError(absl::StrCat("\"", name, "\" is not in this layer"));
  }
  if (missing) {
    RETURN_IF_ERROR(MakeMissing(*walk, name));
    fd.Reset(openat(walk->fd(), name.c_str(), kPathDirectory));
    if (!fd.valid()) return WriteError("open", name);
  } else if (!S_ISDIR(st.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" on the way is no directory"));
  }
  walk->Push(name, std::move(fd));
  return absl::OkStatus();
}

// The archive says nothing of it: 0755 root:root, and nothing inherited from a parent with the
// set-group-id bit.
Status LayerTree::MakeMissing(const Walk& walk, const std::string& name) {
  LayerDirectory parent{UniqueFd(openat(walk.fd(), ".", kPathDirectory)), walk.Path()};
  if (!parent.fd.valid()) return WriteError("open", name);
  RETURN_IF_ERROR(MakeDirectory(parent, name));
  if (fchownat(parent.fd.get(), name.c_str(), 0, 0, AT_SYMLINK_NOFOLLOW) != 0) {
    return WriteError("chown", name);
  }
  return ChangeMode(parent.fd.get(), name, 0755);
}

Status LayerTree::EnterLink(Walk* walk, int link) {
  if (++walk->links > kMaxLayerLinks)
    return absl::InvalidArgumentError("too many links on the way");
  std::array<char, PATH_MAX> target;
  const ssize_t n = readlinkat(link, "", target.data(), target.size());
  if (n < 0) return SyscallError("readlink");
  const absl::string_view text(target.data(), static_cast<size_t>(n));
  if (!text.empty() && text[0] == '/') walk->at.clear();
  const std::vector<std::string> parts = absl::StrSplit(text, '/');
  walk->todo.insert(walk->todo.end(), parts.rbegin(), parts.rend());
  return absl::OkStatus();
}

bool LayerTree::IsWhiteout(int parent, const std::string& name) {
  struct stat st;
  return fstatat(parent, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISCHR(st.st_mode) &&
         st.st_rdev == 0;
}

Status LayerTree::MakeDirectory(const LayerDirectory& parent, const std::string& name) {
  const std::string path = parent.Child(name);
  if (mkdirat(parent.fd.get(), name.c_str(), 0755) != 0) {
    if (errno != EEXIST) return WriteError("mkdir", name);
    struct stat st;
    if (fstatat(parent.fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      return SyscallError("fstatat", name);
    }
    if (S_ISDIR(st.st_mode)) return absl::OkStatus();
    RETURN_IF_ERROR(Clear(parent, name));
    if (S_ISCHR(st.st_mode) && st.st_rdev == 0) MarkOpaque(path);
    if (mkdirat(parent.fd.get(), name.c_str(), 0755) != 0) return WriteError("mkdir", name);
  }
  RETURN_IF_ERROR(CountInode());
  // Made on the way to something else: the archive says nothing of it, so the same for every
  // unpack.
  return SetTime(path, TarTime());
}

Status LayerTree::Clear(const LayerDirectory& parent, const std::string& name) {
  known_.clear();
  struct stat st;
  if (fstatat(parent.fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0)
    content_replaced_ = content_replaced_ || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode);
  const std::string path = parent.Child(name);
  opaque_.erase(path);
  for (auto it = opaque_.lower_bound(path + "/");
       it != opaque_.end() && absl::StartsWith(*it, path + "/");) {
    it = opaque_.erase(it);
  }
  return RemoveTree(parent.fd.get(), name);
}

Status LayerTree::SetTime(const std::string& path, const TarTime& time) {
  auto [it, added] = times_.insert_or_assign(path, time);
  if (added) remembered_bytes_ += path.size() + sizeof(*it);
  if (remembered_bytes_ <= kMaxRemembered) return absl::OkStatus();
  return absl::ResourceExhaustedError("too many directories");
}

Status LayerTree::CountInode() {
  if (++inodes_ <= max_inodes_) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("more than ", max_inodes_, " files"));
}

StatusOr<std::vector<std::string>> LayerTree::Finish() {
  known_.clear();
  for (const auto& [path, time] : times_) {
    UniqueFd fd = OpenWithoutLinks(root_, path, O_RDONLY | O_DIRECTORY);
    if (!fd.valid() && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
      continue;  // replaced
    if (!fd.valid()) return SyscallError("openat2", path);
    const timespec stamp{time.seconds, static_cast<long>(time.nanoseconds)};
    const timespec times[2] = {stamp, stamp};
    if (futimens(fd.get(), times) != 0) return WriteError("futimens", path);
  }
  std::vector<std::string> opaque;
  for (const std::string& path : opaque_) {
    if (OpenWithoutLinks(root_, path, O_RDONLY | O_DIRECTORY).valid()) opaque.push_back(path);
  }
  return opaque;
}

}  // namespace gantry::images
