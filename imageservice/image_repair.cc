#include "imageservice/image_repair.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

namespace gantry::images {
namespace {

RepairedImage Repair(const Image& image, Puller* puller, const std::function<bool()>& cancelled) {
  RepairedImage repaired;
  repaired.id = image.id;
  if (image.repo_digests.empty()) {
    repaired.outcome =
        absl::FailedPreconditionError("it came from an archive: import it again, or remove it");
    return repaired;
  }
  PullRequest request;
  request.reference = repaired.reference = image.repo_digests.front();
  request.cancelled = cancelled;
  const StatusOr<std::shared_ptr<const Image>> pulled = puller->Pull(request);
  repaired.outcome = pulled.status();
  if (pulled.ok() && (*pulled)->id != image.id) {
    repaired.outcome = absl::DataLossError(
        absl::StrCat(repaired.reference, " is image ", (*pulled)->id, " on this machine now"));
  }
  return repaired;
}

}  // namespace

std::vector<RepairedImage> RepairImages(ImageStore* store, Puller* puller,
                                        const std::function<bool()>& cancelled) {
  std::vector<RepairedImage> all;
  for (const std::shared_ptr<const Image>& image : store->Incomplete()) {
    if (cancelled && cancelled()) break;
    all.push_back(Repair(*image, puller, cancelled));
  }
  return all;
}

}  // namespace gantry::images
