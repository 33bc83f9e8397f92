#include "runtime/linux/path_in_root.h"

#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <deque>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "runtime/linux/file.h"

namespace gantry {
namespace {

constexpr int kMaxLinks = 40;     // as the kernel's own bound
constexpr int kMaxRetries = 128;  // openat2(2): EAGAIN while somebody renames above a ".."

// Walks component by component, making what is missing. It holds the descriptors of all directories
// from the root down to where it stands, so that ".." is a step back to a directory it came through
// and never a lookup.
class MakingWalk {
 public:
  MakingWalk(const std::string& path, NodeKind kind, mode_t mode)
      : path_(path), kind_(kind), mode_(mode) {
    Prepend(path);
  }

  StatusOr<UniqueFd> Run(int root) {
    ASSIGN_OR_RETURN(UniqueFd start, OpenAt(root, ".", O_PATH | O_DIRECTORY));
    trail_.push_back(std::move(start));
    while (!ahead_.empty()) {
      const std::string name = std::move(ahead_.front());
      ahead_.pop_front();
      if (name == ".") continue;
      if (name == "..") {
        if (trail_.size() > 1) trail_.pop_back();
        continue;
      }
      ASSIGN_OR_RETURN(UniqueFd next, OpenOrMake(name));
      RETURN_IF_ERROR(Enter(std::move(next)));
    }
    return std::move(trail_.back());
  }

 private:
  void Prepend(const std::string& path) {
    const std::vector<std::string> parts = absl::StrSplit(path, '/', absl::SkipEmpty());
    ahead_.insert(ahead_.begin(), parts.begin(), parts.end());
  }

  StatusOr<UniqueFd> OpenOrMake(const std::string& name) {
    const int here = trail_.back().get();
    StatusOr<UniqueFd> fd = OpenAt(here, name, O_PATH | O_NOFOLLOW);
    if (fd.ok() || ErrnoOf(fd.status()) != ENOENT) return fd;
    if (ahead_.empty() && kind_ == NodeKind::kFile) {
      ASSIGN_OR_RETURN_CONTEXT(
          UniqueFd made, OpenAt(here, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0644),
          absl::StrCat("create ", path_));
    } else if (mkdirat(here, name.c_str(), mode_) != 0 && errno != EEXIST) {
      return SyscallError("mkdir", path_);
    }
    return OpenAt(here, name, O_PATH | O_NOFOLLOW);
  }

  Status Enter(UniqueFd next) {
    struct stat info;
    if (fstat(next.get(), &info) != 0) return SyscallError("stat", path_);
    if (S_ISLNK(info.st_mode)) return Follow(next.get());
    if (!S_ISDIR(info.st_mode) && !ahead_.empty()) return SyscallError("open", path_, ENOTDIR);
    trail_.push_back(std::move(next));
    return absl::OkStatus();
  }

  // The text of the link stands in for it; a magic link is no more than its text here.
  Status Follow(int link) {
    if (++links_ > kMaxLinks) return SyscallError("open", path_, ELOOP);
    std::string target(PATH_MAX, '\0');
    const ssize_t size = readlinkat(link, "", target.data(), target.size());
    if (size < 0) return SyscallError("readlink", path_);
    target.resize(static_cast<size_t>(size));
    if (target.starts_with('/')) trail_.resize(1);
    Prepend(target);
    return absl::OkStatus();
  }

  const std::string& path_;
  NodeKind kind_;
  mode_t mode_;
  std::deque<std::string> ahead_;
  std::vector<UniqueFd> trail_;
  int links_ = 0;
};

// The usual case in few calls: only the last component is missing. Any failure: the walk knows
// better.
StatusOr<UniqueFd> MakeLast(int root, const std::string& path, mode_t mode) {
  const size_t slash = path.rfind('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (name.empty() || name == "." || name == "..") return SyscallError("mkdir", path, EINVAL);
  const std::string parent_path = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  ASSIGN_OR_RETURN(const UniqueFd parent, OpenInRoot(root, parent_path, O_PATH | O_DIRECTORY));
  if (mkdirat(parent.get(), name.c_str(), mode) != 0) return SyscallError("mkdir", path);
  return OpenAt(parent.get(), name, O_PATH | O_NOFOLLOW | O_DIRECTORY);
}

StatusOr<UniqueFd> OpenHow(int root, const std::string& path, struct open_how how) {
  const char* name = path.empty() ? "." : path.c_str();
  long fd = -1;
  int tries = 0;
  do {
    fd = syscall(SYS_openat2, root, name, &how, sizeof how);
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN) && ++tries < kMaxRetries);
  if (fd < 0) return SyscallError("open", path);
  return UniqueFd(static_cast<int>(fd));
}

}  // namespace

StatusOr<UniqueFd> OpenInRoot(int root, const std::string& path, int flags, mode_t mode) {
  struct open_how how = {};
  how.flags = static_cast<unsigned>(flags) | O_CLOEXEC;
  how.mode = mode;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return OpenHow(root, path, how);
}

StatusOr<UniqueFd> OpenBeneath(int root, const std::string& path, int flags) {
  struct open_how how = {};
  how.flags = static_cast<unsigned>(flags) | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  return OpenHow(root, path, how);
}

StatusOr<UniqueFd> EnsureInRoot(int root, const std::string& path, NodeKind kind,
                                mode_t directory_mode) {
  StatusOr<UniqueFd> there = OpenInRoot(root, path, O_PATH);
  if (there.ok() || ErrnoOf(there.status()) != ENOENT) return there;
  if (kind == NodeKind::kDirectory) {
    StatusOr<UniqueFd> made = MakeLast(root, path, directory_mode);
    if (made.ok()) return made;
  }
  return MakingWalk(path, kind, directory_mode).Run(root);
}

StatusOr<NodeName> EnsureParentInRoot(int root, const std::string& path, mode_t directory_mode) {
  std::vector<std::string> parts = absl::StrSplit(path, '/', absl::SkipEmpty());
  if (parts.empty() || parts.back() == "." || parts.back() == "..") {
    return absl::InvalidArgumentError(absl::StrCat("path \"", path, "\" names no file"));
  }
  NodeName node;
  node.name = std::move(parts.back());
  const std::string parent = path.substr(0, path.rfind(node.name));
  ASSIGN_OR_RETURN(node.parent, EnsureInRoot(root, parent, NodeKind::kDirectory, directory_mode));
  return node;
}

}  // namespace gantry
