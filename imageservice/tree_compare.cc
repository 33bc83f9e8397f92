#include "imageservice/tree_compare.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "imageservice/tree_walk.h"
#include "runtime/linux/directory_stream.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {
namespace {

constexpr size_t kPiece = 256 << 10;
constexpr int kDirectory = O_RDONLY | O_DIRECTORY;

Status Differs(absl::string_view what) { return absl::DataLossError(what); }

// Of one entry in both trees.
struct Both {
  int kept, made;
};

StatusOr<std::vector<std::string>> SortedNames(int directory) {
  UniqueFd copy = OpenWithoutLinks(directory, "", kDirectory);
  if (!copy.valid()) return SyscallError("open");
  DirectoryStream stream(fdopendir(copy.get()));
  if (stream == nullptr) return SyscallError("fdopendir");
  (void)copy.Release();
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = readdir(stream.get());
    if (entry == nullptr && errno != 0) return SyscallError("readdir");
    if (entry == nullptr) break;
    const absl::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

StatusOr<std::map<std::string, std::string>> Attributes(int fd) {
  std::array<char, XATTR_LIST_MAX> names;
  std::array<char, XATTR_SIZE_MAX> value;
  const ssize_t bytes = flistxattr(fd, names.data(), names.size());
  if (bytes < 0) return SyscallError("flistxattr");
  std::map<std::string, std::string> attributes;
  for (const char* name = names.data(); name < names.data() + bytes; name += strlen(name) + 1) {
    // The host's own: labels, and sums that are made with the inode's number.
    const bool hosts =
        absl::StartsWith(name, "security.") && absl::string_view(name) != "security.capability";
    if (hosts) continue;
    const ssize_t length = fgetxattr(fd, name, value.data(), value.size());
    if (length < 0) return SyscallError("fgetxattr", name);
    attributes.emplace(name, std::string(value.data(), static_cast<size_t>(length)));
  }
  return attributes;
}

Status CompareAttributes(const Both& open) {
  ASSIGN_OR_RETURN(const auto kept, Attributes(open.kept));
  ASSIGN_OR_RETURN(const auto made, Attributes(open.made));
  return kept == made ? absl::OkStatus() : Differs("it has other extended attributes");
}

StatusOr<size_t> ReadPiece(int fd, std::vector<char>* buffer) {
  size_t have = 0;
  while (have < buffer->size()) {
    const ssize_t n = read(fd, buffer->data() + have, buffer->size() - have);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SyscallError("read");
    if (n == 0) break;
    have += static_cast<size_t>(n);
  }
  return have;
}

Status CompareLinks(const Both& parents, const std::string& name) {
  std::array<char, PATH_MAX> kept, made;
  const ssize_t n = readlinkat(parents.kept, name.c_str(), kept.data(), kept.size());
  const ssize_t m = readlinkat(parents.made, name.c_str(), made.data(), made.size());
  if (n < 0 || m < 0) return SyscallError("readlink", name);
  const bool same = n == m && memcmp(kept.data(), made.data(), static_cast<size_t>(n)) == 0;
  return same ? absl::OkStatus() : Differs("it leads elsewhere");
}

class Comparison {
 public:
  explicit Comparison(const std::function<bool()>& cancelled)
      : cancelled_(cancelled), contents_(cancelled) {}

  Status Run(int kept, int made);

 private:
  // A directory on the way down, and how to know it again on the way up.
  struct Level {
    std::string name;
    ino_t kept, made;
    std::vector<std::string> directories;  // below it, not looked at yet
  };

  Status Enter(const std::string& name);
  Status Down(const std::string& name);
  Status Up();
  // True: a directory in both.
  StatusOr<bool> CompareEntry(const std::string& name);
  Status CompareStat(const struct stat& kept, const struct stat& made);
  Status CompareFiles(const Both& parents, const std::string& name);
  Status Named(const Status& status, const std::string& name) const;

  const std::function<bool()>& cancelled_;
  ContentComparison contents_;
  std::vector<Level> levels_;
  UniqueFd kept_, made_;       // of the last level
  bool another_name_ = false;  // of a file that was compared already
  absl::flat_hash_map<ino_t, ino_t> same_file_, same_file_back_;  // of those with several names
};

// With the path in front.
Status Comparison::Named(const Status& status, const std::string& name) const {
  if (status.ok()) return status;
  std::string path;
  for (const Level& level : levels_)
    if (!level.name.empty()) absl::StrAppend(&path, level.name, "/");
  absl::StrAppend(&path, name);
  if (absl::EndsWith(path, "/")) path.pop_back();
  return Annotate(status, absl::StrCat("\"", path.empty() ? "." : absl::CHexEscape(path), "\""));
}

Status Comparison::CompareStat(const struct stat& kept, const struct stat& made) {
  if ((kept.st_mode & S_IFMT) != (made.st_mode & S_IFMT)) return Differs("it is of another type");
  if (kept.st_mode != made.st_mode) return Differs("its mode is another one");
  if (kept.st_uid != made.st_uid || kept.st_gid != made.st_gid)
    return Differs("its owner is another one");
  if (kept.st_mtim.tv_sec != made.st_mtim.tv_sec || kept.st_mtim.tv_nsec != made.st_mtim.tv_nsec)
    return Differs("its time is another one");
  if (kept.st_rdev != made.st_rdev) return Differs("it is another device");
  if (S_ISDIR(kept.st_mode)) return absl::OkStatus();
  if (kept.st_size != made.st_size) return Differs("its size is another one");
  if (kept.st_nlink != made.st_nlink) return Differs("it has another number of names");
  if (kept.st_nlink == 1) return absl::OkStatus();
  const auto to = same_file_.try_emplace(kept.st_ino, made.st_ino).first;
  const auto [back, added] = same_file_back_.try_emplace(made.st_ino, kept.st_ino);
  another_name_ = !added;
  const bool same = to->second == made.st_ino && back->second == kept.st_ino;
  return same ? absl::OkStatus() : Differs("it is a name of another file");
}

Status Comparison::CompareFiles(const Both& parents, const std::string& name) {
  const UniqueFd kept = OpenWithoutLinks(parents.kept, name, O_RDONLY | O_NONBLOCK);
  const UniqueFd made = OpenWithoutLinks(parents.made, name, O_RDONLY | O_NONBLOCK);
  if (!kept.valid() || !made.valid()) return SyscallError("open", name);
  RETURN_IF_ERROR(CompareAttributes({kept.get(), made.get()}));
  ASSIGN_OR_RETURN(const std::optional<uint64_t> difference,
                   contents_.FirstDifference(kept.get(), made.get()));
  return difference.has_value() ? Differs("its content is another one") : absl::OkStatus();
}

StatusOr<bool> Comparison::CompareEntry(const std::string& name) {
  const Both parents = {kept_.get(), made_.get()};
  struct stat kept, made;
  if (fstatat(parents.kept, name.c_str(), &kept, AT_SYMLINK_NOFOLLOW) != 0 ||
      fstatat(parents.made, name.c_str(), &made, AT_SYMLINK_NOFOLLOW) != 0) {
    return SyscallError("fstatat", name);
  }
  another_name_ = false;
  RETURN_IF_ERROR(CompareStat(kept, made));
  if (S_ISLNK(kept.st_mode)) RETURN_IF_ERROR(CompareLinks(parents, name));
  if (S_ISREG(kept.st_mode) && !another_name_) RETURN_IF_ERROR(CompareFiles(parents, name));
  return S_ISDIR(kept.st_mode);
}

// Compares what is in the directories that are open now.
Status Comparison::Enter(const std::string& name) {
  if (cancelled_ && cancelled_()) return absl::CancelledError("cancelled");
  struct stat kept, made;
  if (fstat(kept_.get(), &kept) != 0 || fstat(made_.get(), &made) != 0)
    return SyscallError("fstat", name);
  levels_.push_back({name, kept.st_ino, made.st_ino, {}});
  RETURN_IF_ERROR(Named(CompareStat(kept, made), ""));
  RETURN_IF_ERROR(Named(CompareAttributes({kept_.get(), made_.get()}), ""));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, SortedNames(kept_.get()));
  ASSIGN_OR_RETURN(const std::vector<std::string> others, SortedNames(made_.get()));
  if (names != others) {
    const auto [a, b] = std::mismatch(names.begin(), names.end(), others.begin(), others.end());
    const bool missing = a == names.end() || (b != others.end() && *b < *a);
    return Named(Differs(missing ? "it is missing" : "it is in no archive"), missing ? *b : *a);
  }
  for (const std::string& below : names) {
    const StatusOr<bool> directory = CompareEntry(below);
    RETURN_IF_ERROR(Named(directory.status(), below));
    if (*directory) levels_.back().directories.push_back(below);
  }
  return absl::OkStatus();
}

Status Comparison::Down(const std::string& name) {
  kept_ = OpenWithoutLinks(kept_.get(), name, kDirectory);
  made_ = OpenWithoutLinks(made_.get(), name, kDirectory);
  if (!kept_.valid() || !made_.valid()) return SyscallError("open", name);
  return Enter(name);
}

// By "..", so that depth costs no descriptors.
Status Comparison::Up() {
  levels_.pop_back();
  if (levels_.empty()) return absl::OkStatus();
  kept_.Reset(openat(kept_.get(), "..", kDirectory | O_CLOEXEC));
  made_.Reset(openat(made_.get(), "..", kDirectory | O_CLOEXEC));
  struct stat kept, made;
  if (fstat(kept_.get(), &kept) != 0 || fstat(made_.get(), &made) != 0)
    return SyscallError("open", "..");
  const bool same = kept.st_ino == levels_.back().kept && made.st_ino == levels_.back().made;
  return same ? absl::OkStatus()
              : absl::InternalError("a directory was moved during the comparison");
}

Status Comparison::Run(int kept, int made) {
  kept_ = OpenWithoutLinks(kept, "", kDirectory);
  made_ = OpenWithoutLinks(made, "", kDirectory);
  if (!kept_.valid() || !made_.valid()) return SyscallError("open");
  RETURN_IF_ERROR(Enter(""));
  while (!levels_.empty()) {
    std::vector<std::string>& left = levels_.back().directories;
    if (left.empty()) {
      RETURN_IF_ERROR(Up());
      continue;
    }
    const std::string name = std::move(left.back());
    left.pop_back();
    RETURN_IF_ERROR(Down(name));
  }
  return absl::OkStatus();
}

}  // namespace

ContentComparison::ContentComparison(const std::function<bool()>& cancelled)
    : cancelled_(cancelled), left_(kPiece), right_(kPiece) {}

StatusOr<std::optional<uint64_t>> ContentComparison::FirstDifference(int kept, int made) {
  for (uint64_t offset = 0;; offset += kPiece) {
    if (cancelled_ && cancelled_()) return absl::CancelledError("cancelled");
    ASSIGN_OR_RETURN(const size_t n, ReadPiece(kept, &left_));
    ASSIGN_OR_RETURN(const size_t m, ReadPiece(made, &right_));
    const auto end = left_.begin() + static_cast<ptrdiff_t>(std::min(n, m));
    const auto differ = std::mismatch(left_.begin(), end, right_.begin()).first;
    if (n != m || differ != end)
      return std::optional(offset + static_cast<uint64_t>(differ - left_.begin()));
    if (n < kPiece) return std::optional<uint64_t>();
  }
}

Status CompareTrees(int kept, int made, const std::function<bool()>& cancelled) {
  return Comparison(cancelled).Run(kept, made);
}

}  // namespace gantry::images
