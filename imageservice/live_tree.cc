#include "imageservice/live_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "runtime/linux/unique_fd.h"

namespace gantry::images {
namespace {

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
// Of a deeper chain only the last ones are held open; the way back is "..".
constexpr size_t kMaxOpen = 64;

class LiveWalk {
 public:
  LiveWalk(dev_t device, absl::FunctionRef<bool()> enough) : device_(device), enough_(enough) {}

  // Counts what is in the open directory, and remembers the directories among it.
  void Visit(UniqueFd directory) {
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(directory.get()), closedir);
    if (stream == nullptr) return;
    (void)directory.Release();
    Level level;
    level.fd.Reset(openat(dirfd(stream.get()), ".", kDirectoryFlags));
    struct stat own;
    if (!level.fd.valid() || fstat(level.fd.get(), &own) != 0) return;
    level.inode = own.st_ino;
    while (const dirent* entry = readdir(stream.get())) {
      if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
      struct stat st;
      if (fstatat(dirfd(stream.get()), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
      Count(st);
      if (S_ISDIR(st.st_mode) && st.st_dev == device_) level.below.emplace_back(entry->d_name);
      if (Enough()) break;
    }
    if (level.below.empty()) return;
    if (levels_.size() >= kMaxOpen) levels_[levels_.size() - kMaxOpen].fd.Reset();
    levels_.push_back(std::move(level));
  }

  // Goes on until nothing is left or it is enough.
  void Run() {
    while (!levels_.empty() && !Enough()) {
      Level& level = levels_.back();
      if (level.below.empty()) {
        Leave();
        continue;
      }
      const std::string name = std::move(level.below.back());
      level.below.pop_back();
      UniqueFd next(openat(level.fd.get(), name.c_str(), kDirectoryFlags));
      if (next.valid()) Visit(std::move(next));
    }
  }

  void Count(const struct stat& st) {
    const bool several = !S_ISDIR(st.st_mode) && st.st_nlink > 1;
    if (several && !linked_.insert(st.st_ino).second) return;
    usage_.bytes += static_cast<uint64_t>(st.st_blocks) * 512;
    ++usage_.inodes;
  }

  [[nodiscard]] LiveTreeUsage Result() const { return {usage_, complete_}; }

 private:
  struct Level {
    UniqueFd fd;  // none: closed, because the walk is far below it
    ino_t inode = 0;
    std::vector<std::string> below;  // directories that are still to be visited
  };

  // Up by one. When the directory was moved away meanwhile, its old surroundings are given up.
  void Leave() {
    const UniqueFd left = std::move(levels_.back().fd);
    levels_.pop_back();
    if (levels_.empty() || levels_.back().fd.valid()) return;
    Level& above = levels_.back();
    above.fd.Reset(openat(left.get(), "..", kDirectoryFlags));
    struct stat st;
    if (above.fd.valid() && fstat(above.fd.get(), &st) == 0 && st.st_ino == above.inode &&
        st.st_dev == device_)
      return;
    levels_.clear();
    complete_ = false;
  }

  bool Enough() {
    if (!enough_()) return false;
    complete_ = false;
    return true;
  }

  const dev_t device_;
  const absl::FunctionRef<bool()> enough_;
  std::vector<Level> levels_;
  std::set<ino_t> linked_;  // files with several links that were counted
  TreeUsage usage_;
  bool complete_ = true;
};

}  // namespace

StatusOr<LiveTreeUsage> MeasureLiveTree(const std::string& path, absl::FunctionRef<bool()> enough) {
  UniqueFd root(open(path.c_str(), kDirectoryFlags));
  if (!root.valid()) return SyscallError("open", path);
  struct stat st;
  if (fstat(root.get(), &st) != 0) return SyscallError("fstat", path);
  LiveWalk walk(st.st_dev, enough);
  walk.Count(st);
  walk.Visit(std::move(root));
  walk.Run();
  return walk.Result();
}

}  // namespace gantry::images
