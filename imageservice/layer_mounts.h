// Layers as the workshop sees them: an EROFS layer is mounted once, on <layer>/fs, when the first
// container or volume needs it, and is from then on shared by all of them.
#pragma once

#include <sys/stat.h>

#include <map>
#include <mutex>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "imageservice/erofs_mount.h"
#include "imageservice/image_store.h"
#include "imageservice/workshop.h"
#include "runtime/base/status.h"

namespace gantry::images {

// A layer that overlays can be made of.
struct ReadyLayer {
  std::string path;          // of its tree, in the workshop
  struct stat root = {};     // owner, mode and times of the tree's root
  bool hides_below = false;  // the root is opaque: nothing of the layers below shows
};

// Any thread.
class LayerMounts {
 public:
  // `store` and `workshop` outlive this.
  LayerMounts(const ImageStore* store, Workshop* workshop, ErofsSupport support);

  // The layer must be held (ImageStore::HoldLayers) or in an image for as long as the answer is
  // used. kFailedPrecondition: it is not here, or is EROFS and cannot be mounted on this node;
  // kDataLoss: its files are damaged.
  StatusOr<ReadyLayer> Ready(const std::string& digest);

  ErofsSupport support() const { return support_; }

 private:
  struct Known {
    int64_t made_at_ns;  // of the publication that was looked at
    ReadyLayer layer;
  };
  StatusOr<ReadyLayer> Prepare(const LayerInfo& info);
  StatusOr<UniqueFd> MountLayer(const LayerInfo& info, const std::string& tree);
  void Remember(const LayerInfo& info, const ReadyLayer& layer);

  const ImageStore* const store_;
  Workshop* const workshop_;
  const ErofsSupport support_;
  std::mutex mounting_;  // a layer is mounted once, whoever comes at the same time
  absl::Mutex mutex_;
  std::map<std::string, Known> known_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gantry::images
