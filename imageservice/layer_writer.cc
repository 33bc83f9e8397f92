#include "imageservice/layer_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gantry::images {
namespace {

constexpr uint64_t kFlushBytes = 8u << 20;
constexpr uint64_t kCheckBytes = 16u << 20;

Status Bad(absl::string_view why) { return absl::InvalidArgumentError(why); }

void FillTimes(const TarTime& time, timespec times[2]) {
  const TarTime clamped = ClampedTime(time);
  times[0] = times[1] = {clamped.seconds, static_cast<long>(clamped.nanoseconds)};
}

Status SetXattrs(int fd, const TarEntry& entry) {
  ASSIGN_OR_RETURN(const Xattrs kept, KeptXattrs(entry));
  for (const auto& [name, value] : kept) {
    if (fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) == 0) continue;
    if (absl::StartsWith(name, "user.") && errno == EOPNOTSUPP)
      continue;  // tmpfs before 6.6 has none; nothing depends on them
    return WriteError("fsetxattr", absl::CHexEscape(name));
  }
  return absl::OkStatus();
}

// Owner before mode, since chown takes the setuid bits away, and before capabilities for the same
// reason.
Status SetMetadata(int fd, const TarEntry& entry) {
  if (fchown(fd, entry.uid, entry.gid) != 0) return WriteError("fchown", "");
  if (fchmod(fd, entry.mode) != 0) return WriteError("fchmod", "");
  return SetXattrs(fd, entry);
}

}  // namespace

LayerWriter::LayerWriter(int root, const LayerWriterLimits& limits)
    : root_(root), limits_(limits), tree_(root, limits.max_inodes) {}

Status LayerWriter::OnEntry(const TarEntry& entry) {
  file_.Reset();
  ASSIGN_OR_RETURN(LayerPath path, CleanLayerPath(entry.name));
  if (path.kind == LayerName::kIgnored) return absl::OkStatus();
  ASSIGN_OR_RETURN(Directory parent, tree_.Resolve(path.parents, /*create=*/true));
  switch (path.kind) {
    case LayerName::kRoot:
      // umoci's CVE-2021-29136: a root that is a link or a file.
      if (entry.type != TarType::kDirectory) return Bad("the root of the layer is no directory");
      return WriteDirectory(*parent, ".", entry);
    case LayerName::kOpaque:
      tree_.MarkOpaque(parent->path);
      return absl::OkStatus();
    case LayerName::kWhiteout:
      return WriteWhiteout(*parent, path.name);
    default:
      break;
  }
  switch (entry.type) {
    case TarType::kDirectory:
      return WriteDirectory(*parent, path.name, entry);
    case TarType::kHardLink:
      return WriteHardLink(*parent, path.name, entry);
    case TarType::kSymlink:
      return WriteSymlink(*parent, path.name, entry);
    case TarType::kFile:
      return OpenFile(*parent, path.name, entry);
    default:
      return WriteNode(*parent, path.name, entry);
  }
}

Status LayerWriter::WriteWhiteout(const LayerDirectory& parent, const std::string& name) {
  if (mknodat(parent.fd.get(), name.c_str(), S_IFCHR, makedev(0, 0)) == 0) {
    timespec times[2];
    FillTimes(TarTime(), times);  // the same for every unpack
    if (utimensat(parent.fd.get(), name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
      return WriteError("utimens", name);
    return tree_.CountInode();
  }
  if (errno != EEXIST) return WriteError("mknod", name);
  // The layer has its own entry of this name: that one stays, and hides what is below like any
  // entry; a directory needs the mark.
  struct stat st;
  if (fstatat(parent.fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    return SyscallError("fstatat", name);
  }
  if (S_ISDIR(st.st_mode)) tree_.MarkOpaque(parent.Child(name));
  return absl::OkStatus();
}

Status LayerWriter::WriteDirectory(const LayerDirectory& parent, const std::string& name,
                                   const TarEntry& entry) {
  const bool is_root = name == ".";
  if (!is_root) RETURN_IF_ERROR(tree_.MakeDirectory(parent, name));
  UniqueFd fd(
      openat(parent.fd.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return WriteError("open", name);
  RETURN_IF_ERROR(SetMetadata(fd.get(), entry));
  return tree_.SetTime(is_root ? parent.path : parent.Child(name), ClampedTime(entry.mtime));
}

Status LayerWriter::WriteHardLink(const LayerDirectory& parent, const std::string& name,
                                  const TarEntry& entry) {
  auto target = CleanLayerPath(entry.link_target);
  if (!target.ok()) return Annotate(target.status(), "hard link target");
  if (target->kind != LayerName::kOrdinary) return Bad("hard link to a directory or whiteout");
  const std::string shown = absl::CHexEscape(entry.link_target.substr(0, 256));
  auto directory = tree_.Resolve(target->parents, /*create=*/false);
  if (!directory.ok() && !absl::IsNotFound(directory.status())) return directory.status();
  struct stat to, at;
  if (!directory.ok() ||
      fstatat((*directory)->fd.get(), target->name.c_str(), &to, AT_SYMLINK_NOFOLLOW) != 0 ||
      (S_ISCHR(to.st_mode) && to.st_rdev == 0)) {
    return Bad(
        absl::StrCat("hard link to \"", shown, "\", which is no earlier entry of this layer"));
  }
  if (S_ISDIR(to.st_mode)) return Bad(absl::StrCat("hard link to the directory \"", shown, "\""));
  if (fstatat(parent.fd.get(), name.c_str(), &at, AT_SYMLINK_NOFOLLOW) == 0) {
    if (at.st_ino == to.st_ino && at.st_dev == to.st_dev) return absl::OkStatus();
    RETURN_IF_ERROR(tree_.Clear(parent, name));
  }
  // Without AT_SYMLINK_FOLLOW: a link to a symbolic link is that, never what it points at.
  if (linkat((*directory)->fd.get(), target->name.c_str(), parent.fd.get(), name.c_str(), 0) != 0) {
    return WriteError("link", shown);
  }
  return absl::OkStatus();
}

Status LayerWriter::WriteSymlink(const LayerDirectory& parent, const std::string& name,
                                 const TarEntry& entry) {
  const std::string& target = entry.link_target;
  RETURN_IF_ERROR(CheckSymlinkTarget(target));
  const int fd = parent.fd.get();
  if (symlinkat(target.c_str(), fd, name.c_str()) != 0) {
    if (errno != EEXIST) return WriteError("symlink", name);
    RETURN_IF_ERROR(tree_.Clear(parent, name));
    if (symlinkat(target.c_str(), fd, name.c_str()) != 0) return WriteError("symlink", name);
  }
  RETURN_IF_ERROR(tree_.CountInode());
  timespec times[2];
  FillTimes(entry.mtime, times);
  if (fchownat(fd, name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    return WriteError("lchown", name);
  }
  if (utimensat(fd, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
    return WriteError("utimens", name);
  return absl::OkStatus();
}

Status LayerWriter::WriteNode(const LayerDirectory& parent, const std::string& name,
                              const TarEntry& entry) {
  const mode_t type = entry.type == TarType::kFifo         ? S_IFIFO
                      : entry.type == TarType::kCharDevice ? S_IFCHR
                                                           : S_IFBLK;
  RETURN_IF_ERROR(CheckDevice(entry));
  const int fd = parent.fd.get();
  const dev_t device =
      makedev(static_cast<unsigned>(entry.dev_major), static_cast<unsigned>(entry.dev_minor));
  if (mknodat(fd, name.c_str(), type | 0600, device) != 0) {
    if (errno != EEXIST) return WriteError("mknod", name);
    RETURN_IF_ERROR(tree_.Clear(parent, name));
    if (mknodat(fd, name.c_str(), type | 0600, device) != 0) return WriteError("mknod", name);
  }
  RETURN_IF_ERROR(tree_.CountInode());
  timespec times[2];
  FillTimes(entry.mtime, times);
  if (fchownat(fd, name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    return WriteError("lchown", name);
  }
  RETURN_IF_ERROR(ChangeMode(fd, name, entry.mode));
  if (utimensat(fd, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
    return WriteError("utimens", name);
  return absl::OkStatus();
}

// ---- files ----

Status LayerWriter::OpenFile(const LayerDirectory& parent, const std::string& name,
                             const TarEntry& entry) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  file_.Reset(openat(parent.fd.get(), name.c_str(), kFlags, 0600));
  if (!file_.valid()) {
    if (errno != EEXIST) return WriteError("open", name);
    RETURN_IF_ERROR(tree_.Clear(parent, name));
    file_.Reset(openat(parent.fd.get(), name.c_str(), kFlags, 0600));
    if (!file_.valid()) return WriteError("open", name);
  }
  entry_ = entry;
  file_path_ = parent.Child(name);
  written_to_ = flushed_to_ = 0;
  return tree_.CountInode();
}

Status LayerWriter::OnData(uint64_t offset, absl::string_view bytes) {
  if (!file_.valid()) return absl::OkStatus();  // of a whiteout or of aufs
  since_check_ += bytes.size();
  if (since_check_ >= kCheckBytes) {
    since_check_ = 0;
    RETURN_IF_ERROR(CheckFreeSpace(root_, limits_));
  }
  RETURN_IF_ERROR(WriteAt(file_.get(), offset, bytes, ""));
  written_to_ = offset + bytes.size();
  if (written_to_ - flushed_to_ >= kFlushBytes) {
    // Starts the disk early, so that the wait at publication is short. Advice only.
    (void)sync_file_range(file_.get(), static_cast<off_t>(flushed_to_),
                          static_cast<off_t>(written_to_ - flushed_to_), SYNC_FILE_RANGE_WRITE);
    flushed_to_ = written_to_;
  }
  return absl::OkStatus();
}

Status LayerWriter::OnEntryEnd() {
  if (!file_.valid()) return absl::OkStatus();
  if (written_to_ < entry_.size && ftruncate(file_.get(), static_cast<off_t>(entry_.size)) != 0) {
    return WriteError("ftruncate", "");
  }
  RETURN_IF_ERROR(SetMetadata(file_.get(), entry_));
  timespec times[2];
  FillTimes(entry_.mtime, times);
  if (futimens(file_.get(), times) != 0) return WriteError("futimens", "");
  file_.Reset();
  return absl::OkStatus();
}

std::optional<ContentPlace> LayerWriter::Place() const {
  // Longer ones cannot be opened by their paths.
  if (!file_.valid() || file_path_.size() >= PATH_MAX) return std::nullopt;
  return ContentPlace{file_path_, 0};
}

StatusOr<LayerWriter::Result> LayerWriter::Finish() {
  file_.Reset();
  Result result;
  ASSIGN_OR_RETURN(result.opaque, tree_.Finish());
  result.content_replaced = tree_.content_replaced();
  return result;
}

}  // namespace gantry::images
