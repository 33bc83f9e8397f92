#include "imageservice/layer_check.h"

#include <fcntl.h>

#include "absl/strings/str_cat.h"

#include "imageservice/erofs_verify.h"
#include "imageservice/tree_walk.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

Status CheckErofs(int folder, const LayerInfo& info, bool contents) {
  ASSIGN_OR_RETURN(const UniqueFd meta, OpenAt(folder, kLayerMeta, O_RDONLY | O_NOFOLLOW));
  RETURN_IF_ERROR(VerifyErofs(meta.get(), info.data_bytes).status());
  if (!contents) return absl::OkStatus();
  ASSIGN_OR_RETURN(const UniqueFd data, OpenAt(folder, kLayerData, O_RDONLY | O_NOFOLLOW));
  return VerifyErofsData(data.get(), meta.get());
}

Status CheckTree(const std::string& folder, const LayerInfo& info) {
  ASSIGN_OR_RETURN(const TreeUsage found, MeasureTree(absl::StrCat(folder, "/", kLayerTree)));
  if (found.inodes == info.usage.inodes) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("it has ", found.inodes, " files and directories, not ", info.usage.inodes));
}

}  // namespace

Status CheckLayer(const std::string& folder, const LayerInfo& info, bool contents) {
  ASSIGN_OR_RETURN(const UniqueFd fd,
                   OpenAt(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  ASSIGN_OR_RETURN(const LayerInfo recorded, ReadLayerRecord(fd.get()));
  if (recorded.digest != info.digest || recorded.diff_id != info.diff_id ||
      recorded.made_at_ns != info.made_at_ns) {
    return absl::DataLossError("its record has changed");
  }
  if (info.form == LayerForm::kErofs) return CheckErofs(fd.get(), info, contents);
  return contents ? CheckTree(folder, info) : absl::OkStatus();
}

}  // namespace gantry::images
