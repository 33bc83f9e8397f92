#include "imageservice/layer_mounts.h"

#include <fcntl.h>
#include <linux/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "imageservice/erofs_verify.h"
#include "imageservice/reference.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

// statx(2); STATX_ATTR_MOUNT_ROOT is Linux 5.8.
StatusOr<bool> IsMountRoot(int fd) {
  struct statx stx = {};
  if (statx(fd, "", AT_EMPTY_PATH, 0, &stx) != 0) return SyscallError("statx");
  return (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

// overlayfs does not look for the mark on a layer's root: what is below such a layer is left out by
// us.
StatusOr<bool> IsOpaque(int fd) {
  char value = 0;
  if (fgetxattr(fd, "trusted.overlay.opaque", &value, 1) == 1) return value == 'y';
  if (errno == ENODATA || errno == EOPNOTSUPP || errno == ERANGE) return false;
  return SyscallError("fgetxattr");
}

}  // namespace

LayerMounts::LayerMounts(const ImageStore* store, Workshop* workshop, ErofsSupport support)
    : store_(store), workshop_(workshop), support_(support) {}

StatusOr<ReadyLayer> LayerMounts::Ready(const std::string& digest) {
  RETURN_IF_ERROR(CheckDigest(digest));
  const StatusOr<LayerInfo> info = store_->Layer(digest);
  if (!info.ok()) return absl::FailedPreconditionError(info.status().message());
  const auto known = [&]() -> std::optional<ReadyLayer> {
    absl::MutexLock lock(&mutex_);
    const auto it = known_.find(digest);
    if (it == known_.end() || it->second.made_at_ns != info->made_at_ns) return std::nullopt;
    return it->second.layer;
  };
  if (std::optional<ReadyLayer> layer = known()) return *std::move(layer);
  const std::lock_guard<std::mutex> lock(mounting_);
  if (std::optional<ReadyLayer> layer = known()) return *std::move(layer);
  ASSIGN_OR_RETURN_CONTEXT(ReadyLayer layer, Prepare(*info), absl::StrCat("layer ", digest));
  Remember(*info, layer);
  return layer;
}

StatusOr<ReadyLayer> LayerMounts::Prepare(const LayerInfo& info) {
  const std::string tree = store_->LayerPath(info.digest);
  ReadyLayer layer;
  layer.path = std::string(absl::StripPrefix(tree, absl::StrCat(store_->root(), "/")));
  ASSIGN_OR_RETURN(UniqueFd root, workshop_->OpenDirectory(layer.path));
  if (info.form == LayerForm::kErofs) {
    // It may be there already: mounted by a gantryd before this one.
    ASSIGN_OR_RETURN(const bool mounted, IsMountRoot(root.get()));
    if (!mounted) {
      ASSIGN_OR_RETURN(const UniqueFd mount, MountLayer(info, tree));
      RETURN_IF_ERROR(workshop_->Attach(mount.get(), layer.path));
      ASSIGN_OR_RETURN(root, OpenAt(mount.get(), ".", O_RDONLY | O_DIRECTORY));
    }
  }
  if (fstat(root.get(), &layer.root) != 0) return SyscallError("fstat", tree);
  ASSIGN_OR_RETURN(layer.hides_below, IsOpaque(root.get()));
  return layer;
}

// The disk had it in the meantime: it is verified again, since the kernel believes what it mounts.
StatusOr<UniqueFd> LayerMounts::MountLayer(const LayerInfo& info, const std::string& tree) {
  const std::string folder(absl::StripSuffix(tree, absl::StrCat("/", kLayerTree)));
  ASSIGN_OR_RETURN(const UniqueFd meta,
                   OpenAt(AT_FDCWD, absl::StrCat(folder, "/", kLayerMeta), O_RDONLY | O_NOFOLLOW));
  RETURN_IF_ERROR(VerifyErofs(meta.get(), info.data_bytes).status());
  return MountErofs(folder, support_);
}

void LayerMounts::Remember(const LayerInfo& info, const ReadyLayer& layer) {
  absl::MutexLock lock(&mutex_);
  std::erase_if(known_, [&](const auto& entry) { return !store_->HasLayer(entry.first); });
  known_[info.digest] = {info.made_at_ns, layer};
}

}  // namespace gantry::images
