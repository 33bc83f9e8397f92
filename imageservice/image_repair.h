// Images that lost a layer are fetched again, by the digest they were pulled by.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "imageservice/image_store.h"
#include "imageservice/pull.h"
#include "runtime/base/status.h"

namespace gantry::images {

struct RepairedImage {
  std::string id;
  std::string reference;  // what was pulled; empty when nothing could be
  Status outcome;
};

// Pulls every image of ImageStore::Incomplete, one after the other, with the logins of this node:
// by a digest that it was pulled by, never by a tag, which may name something else today. Outcomes
// are those of Pull; kFailedPrecondition: it came from an archive; kDataLoss: the digest led to
// another image. Stops when `cancelled` says so.
std::vector<RepairedImage> RepairImages(ImageStore* store, Puller* puller,
                                        const std::function<bool()>& cancelled);

}  // namespace gantry::images
