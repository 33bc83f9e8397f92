#include "imageservice/testing_layer_proof.h"

#include <fcntl.h>

#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "imageservice/digester.h"
#include "imageservice/erofs_verify.h"
#include "imageservice/tar_recipe.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

Status CheckNames(const std::string& folder, const LayerInfo& info) {
  std::set<std::string> expected = {"fs", "layer.json"}, found;
  if (info.form == LayerForm::kErofs) expected.insert({"data", "meta"});
  if (info.recipe_bytes > 0) expected.insert("recipe");
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    found.insert(entry.path().filename());
  if (found == expected) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("in its folder lie ", absl::StrJoin(found, ", ")));
}

// Made again from `from`, it is `tar`.
Status CheckArchive(const RecipeSource& from, int folder, const std::string& tar) {
  ASSIGN_OR_RETURN(const UniqueFd recipe, OpenAt(folder, kLayerRecipe, O_RDONLY | O_NOFOLLOW));
  std::string rebuilt;
  RETURN_IF_ERROR(RebuildTar(from, recipe.get(), tar.size(), [&](absl::string_view bytes) {
    absl::StrAppend(&rebuilt, bytes);
    return absl::OkStatus();
  }));
  return rebuilt == tar ? absl::OkStatus()
                        : absl::DataLossError("the archive made again is another one");
}

Status Compare(const TreeListing& expected, const StatusOr<TreeListing>& found) {
  RETURN_IF_ERROR(found.status());
  const std::string difference = Difference(expected, *found);
  return difference.empty() ? absl::OkStatus() : absl::DataLossError(difference);
}

}  // namespace

StatusOr<const TreeListing*> LayerProof::Expected(const std::string& tar) {
  ASSIGN_OR_RETURN(const std::string diff_id, DigestOf(tar));
  if (const auto have = expected_.find(diff_id); have != expected_.end()) return &have->second;
  LayerForms forms;
  ASSIGN_OR_RETURN(const LayerWriter::Result written, forms.WriteDirectory(tar));
  ASSIGN_OR_RETURN(const UniqueFd root, OpenAt(AT_FDCWD, forms.root(), kDirectory));
  ASSIGN_OR_RETURN(TreeListing listing, ListTree(root.get(), written.opaque));
  return &(expected_[diff_id] = std::move(listing));
}

Status LayerProof::CheckErofs(int folder, const LayerInfo& info, const std::string& tar) {
  ASSIGN_OR_RETURN(const UniqueFd meta, OpenAt(folder, kLayerMeta, O_RDONLY | O_NOFOLLOW));
  ASSIGN_OR_RETURN(const UniqueFd data, OpenAt(folder, kLayerData, O_RDONLY | O_NOFOLLOW));
  RETURN_IF_ERROR(VerifyErofs(meta.get(), info.data_bytes).status());
  RETURN_IF_ERROR(VerifyErofsData(data.get(), meta.get()));
  RETURN_IF_ERROR(CheckArchive({.data = data.get()}, folder, tar));
  ASSIGN_OR_RETURN(const TreeListing* expected, Expected(tar));
  return Compare(*expected, ListErofs(meta.get(), data.get()));
}

Status LayerProof::Check(const std::string& folder, const std::string& digest,
                         const std::string& tar) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenAt(AT_FDCWD, folder, kDirectory));
  ASSIGN_OR_RETURN(const LayerInfo info, ReadLayerRecord(fd.get()));
  ASSIGN_OR_RETURN(const std::string diff_id, DigestOf(tar));
  if (info.digest != digest || info.diff_id != diff_id || info.tar_bytes != tar.size()) {
    return absl::DataLossError("its record tells of another layer");
  }
  RETURN_IF_ERROR(CheckNames(folder, info));
  if (info.form == LayerForm::kErofs) return CheckErofs(fd.get(), info, tar);
  ASSIGN_OR_RETURN(const TreeListing* expected, Expected(tar));
  ASSIGN_OR_RETURN(const UniqueFd tree, OpenAt(fd.get(), kLayerTree, kDirectory));
  if (info.recipe_bytes > 0) RETURN_IF_ERROR(CheckArchive({.tree = tree.get()}, fd.get(), tar));
  return Compare(*expected, ListTree(tree.get(), {}));
}

}  // namespace gantry::images
