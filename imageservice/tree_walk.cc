#include "imageservice/tree_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "runtime/linux/directory_stream.h"

namespace gantry::images {
namespace {

using Visit = absl::FunctionRef<Status(int directory, const char* name, bool is_directory)>;
using Identity = std::pair<dev_t, ino_t>;

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

// A directory on the way down: what is left to visit in it, and how to know it again on the way up.
struct Level {
  std::string name;
  Identity identity;
  std::vector<std::string> directories;
};

StatusOr<Identity> IdentityOf(int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0) return SyscallError("fstat");
  return Identity(st.st_dev, st.st_ino);
}

StatusOr<bool> IsDirectory(int directory, const dirent& entry) {
  if (entry.d_type != DT_UNKNOWN) return entry.d_type == DT_DIR;
  struct stat st;
  if (fstatat(directory, entry.d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
    return SyscallError("fstatat", entry.d_name);
  }
  return S_ISDIR(st.st_mode);
}

// Visits what is no directory and returns the directories.
StatusOr<std::vector<std::string>> VisitFiles(int fd, Visit visit) {
  UniqueFd copy(openat(fd, ".", kDirectoryFlags));
  if (!copy.valid()) return SyscallError("open", ".");
  DirectoryStream stream(fdopendir(copy.get()));
  if (stream == nullptr) return SyscallError("fdopendir");
  (void)copy.Release();
  std::vector<std::string> directories;
  while (true) {
    errno = 0;
    const dirent* entry = readdir(stream.get());
    if (entry == nullptr && errno != 0) return SyscallError("readdir");
    if (entry == nullptr) return directories;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    ASSIGN_OR_RETURN(bool is_directory, IsDirectory(fd, *entry));
    if (is_directory) {
      directories.emplace_back(entry->d_name);
    } else {
      RETURN_IF_ERROR(visit(fd, entry->d_name, false));
    }
  }
}

StatusOr<Level> Enter(int fd, std::string name, Visit visit) {
  Level level;
  level.name = std::move(name);
  ASSIGN_OR_RETURN(level.identity, IdentityOf(fd));
  ASSIGN_OR_RETURN(level.directories, VisitFiles(fd, visit));
  return level;
}

}  // namespace

Status WalkTree(int root, Visit visit) {
  std::vector<Level> levels;
  ASSIGN_OR_RETURN(Level top, Enter(root, "", visit));
  levels.push_back(std::move(top));
  UniqueFd here(openat(root, ".", kDirectoryFlags));
  if (!here.valid()) return SyscallError("open", ".");
  while (true) {
    Level& level = levels.back();
    if (!level.directories.empty()) {
      std::string name = std::move(level.directories.back());
      level.directories.pop_back();
      UniqueFd below(openat(here.get(), name.c_str(), kDirectoryFlags));
      if (!below.valid()) return SyscallError("open", name);
      ASSIGN_OR_RETURN(Level next, Enter(below.get(), name, visit));
      if (next.identity.first != level.identity.first) {
        return absl::InternalError(absl::StrCat("\"", name, "\" is on another file system"));
      }
      levels.push_back(std::move(next));
      here = std::move(below);
      continue;
    }
    const std::string name = std::move(level.name);
    levels.pop_back();
    if (levels.empty()) return absl::OkStatus();
    // Up by "..", so that depth costs no descriptors; the identity tells whether somebody moved the
    // directory meanwhile.
    UniqueFd above(openat(here.get(), "..", kDirectoryFlags));
    if (!above.valid()) return SyscallError("open", "..");
    ASSIGN_OR_RETURN(Identity identity, IdentityOf(above.get()));
    if (identity != levels.back().identity) {
      return absl::InternalError(absl::StrCat("\"", name, "\" was moved during the walk"));
    }
    here = std::move(above);
    RETURN_IF_ERROR(visit(here.get(), name.c_str(), true));
  }
}

UniqueFd OpenWithoutLinks(int root, const std::string& path, int flags) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_NOFOLLOW | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  const char* name = path.empty() ? "." : path.c_str();
  return UniqueFd(static_cast<int>(syscall(SYS_openat2, root, name, &how, sizeof(how))));
}

Status RemoveTree(int parent, const std::string& name) {
  if (unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return absl::OkStatus();
  if (errno != EISDIR && errno != EPERM) return SyscallError("unlink", name);
  UniqueFd root(openat(parent, name.c_str(), kDirectoryFlags));
  if (!root.valid()) return SyscallError("open", name);
  RETURN_IF_ERROR_CONTEXT(
      WalkTree(root.get(),
               [](int directory, const char* entry, bool is_directory) {
                 const int flags = is_directory ? AT_REMOVEDIR : 0;
                 if (unlinkat(directory, entry, flags) != 0 && errno != ENOENT) {
                   return SyscallError("unlink", entry);
                 }
                 return absl::OkStatus();
               }),
      absl::StrCat("delete \"", name, "\""));
  if (unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
    return SyscallError("rmdir", name);
  }
  return absl::OkStatus();
}

StatusOr<TreeUsage> MeasureTree(const std::string& path) {
  UniqueFd root(open(path.c_str(), kDirectoryFlags));
  if (!root.valid()) return SyscallError("open", path);
  TreeUsage usage;
  std::set<ino_t> linked;  // files with several links that were counted
  auto count = [&](const struct stat& st) {
    const bool several = !S_ISDIR(st.st_mode) && st.st_nlink > 1;
    if (several && !linked.insert(st.st_ino).second) return;
    usage.bytes += static_cast<uint64_t>(st.st_blocks) * 512;
    ++usage.inodes;
  };
  struct stat st;
  if (fstat(root.get(), &st) != 0) return SyscallError("fstat", path);
  count(st);
  RETURN_IF_ERROR_CONTEXT(
      WalkTree(root.get(),
               [&](int directory, const char* entry, bool) {
                 struct stat found;
                 if (fstatat(directory, entry, &found, AT_SYMLINK_NOFOLLOW) != 0) {
                   return SyscallError("fstatat", entry);
                 }
                 count(found);
                 return absl::OkStatus();
               }),
      absl::StrCat("measure \"", path, "\""));
  return usage;
}

}  // namespace gantry::images
