// What is left of a store after its power was cut?
//
//   testing_store_check ROOT JOURNALS
//
// ROOT: the store, which is opened as gantryd would; JOURNALS: the folder of all journals since the
// store was empty (testing_churn.h). Says on standard error what is wrong, one line each, and at
// the end on standard output in one line how many layers were compared, images acknowledged, and
// so on. Exit status: 0 when nothing is wrong, 1 when something is, 2 when it could not be checked.
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "imageservice/image_store.h"
#include "imageservice/reference.h"
#include "imageservice/testing_churn.h"
#include "imageservice/testing_layer_proof.h"

namespace gantry::images {
namespace {

namespace fs = std::filesystem;

struct Counts {
  int layers = 0, bad_layers = 0, images = 0, lost = 0, came_back = 0, left_over = 0;
};

void Complain(absl::string_view what, absl::string_view which, absl::string_view why) {
  const std::string line = absl::StrCat(what, " ", which, ": ", why, "\n");
  fputs(line.c_str(), stderr);
}

// Before the store is opened: what has a layer's name is a layer, whole and right.
void CheckLayers(const fs::path& root, const std::vector<ChurnImage>& images, Counts* counts) {
  std::map<std::string, std::pair<std::string, const std::string*>> known;  // by folder's name
  for (const ChurnImage& image : images) {
    for (size_t i = 0; i < image.tars.size(); ++i) {
      const std::string& digest = image.image.layers()[i].digest;
      known[DigestFileName(digest)] = {digest, &image.tars[i]};
    }
  }
  LayerProof proof;
  if (!fs::exists(root / "layers")) return;  // the first cut came early
  for (const auto& entry : fs::directory_iterator(root / "layers")) {
    ++counts->layers;
    const auto it = known.find(entry.path().filename());
    const Status status = it == known.end()
                              ? absl::DataLossError("no image has it")
                              : proof.Check(entry.path(), it->second.first, *it->second.second);
    if (status.ok()) continue;
    ++counts->bad_layers;
    Complain("bad layer", entry.path().filename().string(), status.ToString());
  }
}

Status IsWhole(const ImageStore& store, const Image& image, const TestImage& expected) {
  std::vector<std::string> layers;
  for (const TestImage::Blob& layer : expected.layers()) layers.push_back(layer.digest);
  if (image.id != expected.Config().digest || image.layers != layers ||
      image.diff_ids != expected.diff_ids()) {
    return absl::DataLossError("it is another image");
  }
  ASSIGN_OR_RETURN(const ImageDocuments documents, store.Documents(image.id));
  if (documents.config != expected.Config().bytes ||
      documents.manifest != expected.Manifest().bytes) {
    return absl::DataLossError("its documents are others");
  }
  return absl::OkStatus();
}

// An image that is listed must be whole; the journal says which ones must be and must not be.
Status CheckImages(const ImageStore& store, const std::vector<ChurnImage>& images,
                   const ChurnHistory& history, Counts* counts) {
  for (const ChurnImage& image : images) {
    const auto it = history.last.find(image.reference);
    const std::string last = it == history.last.end() ? "removed" : it->second;
    ASSIGN_OR_RETURN(const auto found, store.Find(image.reference));
    if (last == "have") ++counts->images;
    const Status whole = found == nullptr ? absl::NotFoundError("it is not here")
                                          : IsWhole(store, *found, image.image);
    if (last == "removed" && found != nullptr) {
      ++counts->came_back;
      Complain("came back", image.reference, "its removal was acknowledged");
    }
    if (!whole.ok() && (last == "have" || found != nullptr)) {
      ++counts->lost;
      Complain("lost image", image.reference, whole.ToString());
    }
  }
  for (const auto& image : store.Incomplete()) {
    ++counts->lost;
    Complain("lost image", image->id, "it is recorded without all of its layers");
  }
  return absl::OkStatus();
}

// Open throws away what was in the making, and a collection what no image has.
void CheckLeftOvers(ImageStore* store, Counts* counts) {
  store->CollectUnused(std::chrono::seconds(0));
  store->FlushDeletions();
  std::map<std::string, int> used;
  for (const auto& image : store->List())
    for (const std::string& layer : image->layers) ++used[DigestFileName(layer)];
  const fs::path root = store->root();
  for (const auto& entry : fs::directory_iterator(root / "staging")) {
    ++counts->left_over;
    Complain("left over", entry.path().string(), "it is in staging");
  }
  for (const auto& entry : fs::directory_iterator(root / "layers")) {
    if (used.count(entry.path().filename()) > 0) continue;
    ++counts->left_over;
    Complain("left over", entry.path().string(), "no image has it");
  }
}

StatusOr<bool> Check(const std::string& root, const std::string& journals) {
  ASSIGN_OR_RETURN(const ChurnHistory history, ReadChurnHistory(journals));
  for (const std::string& error : history.errors) Complain("error", "of the worker", error);
  const std::vector<ChurnImage> images = ChurnImages();
  Counts counts;
  CheckLayers(root, images, &counts);
  ASSIGN_OR_RETURN(const std::unique_ptr<ImageStore> store, ImageStore::Open(root));
  RETURN_IF_ERROR(CheckImages(*store, images, history, &counts));
  CheckLeftOvers(store.get(), &counts);
  printf(
      "layers %d, bad layers %d, images %d, lost images %d, came back %d, left over %d, errors "
      "%zu, pulls %d, removals %d\n",
      counts.layers, counts.bad_layers, counts.images, counts.lost, counts.came_back,
      counts.left_over, history.errors.size(), history.pulls, history.removals);
  return counts.bad_layers + counts.lost + counts.came_back + counts.left_over == 0 &&
         history.errors.empty();
}

}  // namespace
}  // namespace gantry::images

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: testing_store_check ROOT JOURNALS\n");
    return 2;
  }
  const gantry::StatusOr<bool> good = gantry::images::Check(argv[1], argv[2]);
  if (!good.ok()) fprintf(stderr, "testing_store_check: %s\n", good.status().ToString().c_str());
  return good.ok() ? (*good ? 0 : 1) : 2;
}
