#include "imageservice/layer_publish.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "imageservice/erofs_verify.h"
#include "imageservice/tree_walk.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

constexpr char kOpaqueList[] = "opaque";
constexpr size_t kMaxOpaqueList = 64 << 20;
constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

int64_t NowNs() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

// The unpacker of a tree made what lies there and can have made links, pipes and devices of it:
// looked at before it is opened, because opening a device does something to it. By then the
// unpacker has ended.
StatusOr<UniqueFd> OpenUntrusted(int folder, const char* name) {
  ASSIGN_OR_RETURN(const UniqueFd found, OpenAt(folder, name, O_PATH | O_NOFOLLOW));
  struct stat st;
  if (fstat(found.get(), &st) != 0) return SyscallError("fstat", name);
  if (!S_ISREG(st.st_mode)) return absl::DataLossError(absl::StrCat(name, " is no file"));
  return OpenAt(AT_FDCWD, FdPath(found.get()), O_RDONLY);
}

Status Sync(int fd, const char* name) {
  return fsync(fd) == 0 ? absl::OkStatus() : SyscallError("fsync", name);
}

// Onto the disk; returns its size.
StatusOr<uint64_t> SyncFile(int fd, const char* name) {
  struct stat st;
  if (fstat(fd, &st) != 0) return SyscallError("fstat", name);
  if (!S_ISREG(st.st_mode)) return absl::DataLossError(absl::StrCat(name, " is no file"));
  RETURN_IF_ERROR(Sync(fd, name));
  return static_cast<uint64_t>(st.st_size);
}

// The files first: what is verified is what is on the disk. Then the place to mount them.
Status PrepareErofs(int folder, int meta, LayerInfo* info) {
  info->form = LayerForm::kErofs;
  ASSIGN_OR_RETURN(const UniqueFd data, OpenUntrusted(folder, kLayerData));
  ASSIGN_OR_RETURN(const UniqueFd recipe, OpenUntrusted(folder, kLayerRecipe));
  ASSIGN_OR_RETURN(info->data_bytes, SyncFile(data.get(), kLayerData));
  ASSIGN_OR_RETURN(info->meta_bytes, SyncFile(meta, kLayerMeta));
  ASSIGN_OR_RETURN(info->recipe_bytes, SyncFile(recipe.get(), kLayerRecipe));
  RETURN_IF_ERROR_CONTEXT(VerifyErofs(meta, info->data_bytes).status(),
                          "gantry-unpacker wrote a layer that is not right");
  if (mkdirat(folder, kLayerTree, 0700) != 0) return SyscallError("mkdir", kLayerTree);
  return absl::OkStatus();
}

// Without a recipe, or with an empty one, the archive cannot be made again.
Status PrepareTree(int folder, LayerInfo* info) {
  RETURN_IF_ERROR(MarkListed(folder));
  const StatusOr<UniqueFd> recipe = OpenUntrusted(folder, kLayerRecipe);
  if (ErrnoOf(recipe.status()) == ENOENT) return absl::OkStatus();
  RETURN_IF_ERROR(recipe.status());
  ASSIGN_OR_RETURN(info->recipe_bytes, SyncFile(recipe->get(), kLayerRecipe));
  if (info->recipe_bytes > 0) return absl::OkStatus();
  return unlinkat(folder, kLayerRecipe, 0) == 0 ? absl::OkStatus()
                                                : SyscallError("unlink", kLayerRecipe);
}

}  // namespace

Status MarkOpaque(int tree, const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    const UniqueFd fd = OpenWithoutLinks(tree, path, O_RDONLY | O_DIRECTORY);
    const std::string shown = absl::CHexEscape(path.substr(0, 256));
    if (!fd.valid()) return SyscallError("openat2", shown);
    if (fsetxattr(fd.get(), "trusted.overlay.opaque", "y", 1, 0) != 0) {
      return SyscallError("fsetxattr trusted.overlay.opaque", shown);
    }
  }
  return absl::OkStatus();
}

Status MarkListed(int folder) {
  ASSIGN_OR_RETURN(const UniqueFd tree, OpenAt(folder, kLayerTree, kDirectory));
  StatusOr<UniqueFd> file = OpenUntrusted(folder, kOpaqueList);
  if (ErrnoOf(file.status()) == ENOENT) return absl::OkStatus();
  RETURN_IF_ERROR(file.status());
  ASSIGN_OR_RETURN(const std::string list, ReadAll(file->get(), kOpaqueList, kMaxOpaqueList));
  const std::vector<std::string> paths =
      absl::StrSplit(absl::StripSuffix(list, absl::string_view("\0", 1)), '\0');
  if (!list.empty()) RETURN_IF_ERROR(MarkOpaque(tree.get(), paths));
  if (unlinkat(folder, kOpaqueList, 0) != 0) return SyscallError("unlink", kOpaqueList);
  return absl::OkStatus();
}

Status PrepareLayer(const std::string& staging, LayerInfo* info) {
  ASSIGN_OR_RETURN(const UniqueFd folder, OpenAt(AT_FDCWD, staging, kDirectory));
  const StatusOr<UniqueFd> meta = OpenUntrusted(folder.get(), kLayerMeta);
  if (meta.ok()) {
    RETURN_IF_ERROR(PrepareErofs(folder.get(), meta->get(), info));
  } else if (ErrnoOf(meta.status()) != ENOENT) {
    return meta.status();
  } else {
    RETURN_IF_ERROR(PrepareTree(folder.get(), info));
  }
  if (info->usage.bytes == 0 || info->usage.inodes == 0) {
    const bool erofs = info->form == LayerForm::kErofs;
    // Of a directory the tree's inodes alone: layer_check counts them again.
    ASSIGN_OR_RETURN(TreeUsage measured,
                     MeasureTree(erofs ? staging : absl::StrCat(staging, "/", kLayerTree)));
    if (!erofs) measured.bytes += (info->recipe_bytes + 4095) / 4096 * 4096;
    if (info->usage.bytes == 0) info->usage.bytes = measured.bytes;
    if (info->usage.inodes == 0) info->usage.inodes = measured.inodes;
  }
  info->made_at_ns = NowNs();
  RETURN_IF_ERROR(WriteLayerRecord(folder.get(), *info));
  if (info->form == LayerForm::kErofs) return Sync(folder.get(), "the folder");
  // Content and names of a tree at once; one call for all files, where fsync would be one for each.
  return syncfs(folder.get()) == 0 ? absl::OkStatus() : SyscallError("syncfs", staging);
}

}  // namespace gantry::images
