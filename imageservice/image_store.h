// The images and layers of this node: what is here, under which names, and what may be deleted.
//
// On disk, below `root`: layers/<algorithm>-<hex>/ (a layer, complete by its name), images in the
// tables of gantry.db, staging/ (what is being made; emptied at Open). Threads: every method may be
// called from any thread; reads are served from memory and never touch the disk.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "imageservice/image.h"
#include "imageservice/layer_record.h"
#include "imageservice/resume_files.h"
#include "runtime/base/status.h"

namespace gantry::images {

class ImageStore {
 public:
  // Opens or makes the store. A torn record is set aside and logged; an image with a layer missing
  // is not listed.
  static StatusOr<std::unique_ptr<ImageStore>> Open(const std::string& root);
  ~ImageStore();

  // Sorted by id.
  std::vector<std::shared_ptr<const Image>> List() const;

  // By image ID ("sha256:…" or its hex, a unique prefix of at least 12 digits too), name with tag,
  // name without (latest), or name@digest; short names are docker.io's. nullptr when there is none.
  // kInvalidArgument when `reference` is no reference.
  StatusOr<std::shared_ptr<const Image>> Find(absl::string_view reference) const;

  // Records an image all of whose layers are in place; merges names with those that the same image
  // already has, and takes its tags from the images that had them. Returns the merged value once it
  // is durable. `image.size`: bytes of the configuration; what the layers take on disk is added
  // here. kFailedPrecondition: a layer is not here (a pull keeps its layers with HoldLayers under
  // an id of its own until this has returned). `documents` replace those that were kept; none: they
  // stay. What is recorded already but for its time is not recorded again. kDataLoss: the
  // configuration is not what the id names.
  StatusOr<std::shared_ptr<const Image>> Put(Image image, const ImageDocuments& documents = {});
  // What Put was given. kNotFound: none was.
  StatusOr<ImageDocuments> Documents(const std::string& id) const;

  // Removes the image that `reference` names, with all its names. OK when there is none. Layers
  // that no image and no container uses are deleted in the background.
  Status Remove(absl::string_view reference);

  // Layers that a container uses are kept, whatever happens to the image. Idempotent; a second call
  // for the same id replaces the first. Hold first and look the image up again afterwards: what is
  // still listed then stays.
  void HoldLayers(const std::string& container_id, const std::vector<std::string>& layers);
  void ReleaseLayers(const std::string& container_id);

  // True when the layer with this blob digest is complete on disk.
  bool HasLayer(absl::string_view blob_digest) const;
  // Absolute path of a layer's tree, or of the directory on which the workshop mounts it. The
  // digest must be valid (reference.h).
  std::string LayerPath(absl::string_view blob_digest) const;
  // What is known of a layer that is here; kNotFound.
  StatusOr<LayerInfo> Layer(absl::string_view blob_digest) const;
  // Moves a finished layer from the staging directory to its name, in the form in which it lies
  // there (layer_publish.h): durable when this returns. Of `info` digest, diffID and length of the
  // archive are given; usage may be. OK when it is there already (the staging directory is then
  // deleted).
  Status PublishLayer(const std::string& staging_directory, LayerInfo info);
  // A fresh empty directory below staging/, on the same file system as layers/.
  StatusOr<std::string> MakeStagingDirectory();
  // Deletes a staging directory that came to nothing, in the background.
  Status DropStagingDirectory(const std::string& staging_directory);

  // A layer that is not what was written.
  struct Damage {
    std::string layer;
    std::vector<std::string> images;  // ids of those that have it
    Status what;
    int64_t made_at_ns = 0;  // LayerInfo's
    // False: it could not be read, which may pass.
    [[nodiscard]] bool certain() const;
  };
  // Looks at every layer (layer_check.h); `cancelled` may be empty and is asked between layers.
  std::vector<Damage> Check(bool contents, const std::function<bool()>& cancelled = nullptr) const;
  // Takes a layer away that is certainly damaged, so that the next pull fetches it again: images
  // that have it are no longer listed, and Incomplete names them. Containers that run on it keep
  // what they have mounted. OK when it has been taken away, or made anew, since Check. Of damage
  // that is not certain: its error, and nothing is done.
  Status SetAside(const Damage& damage);
  // Recorded images that are not listed because a layer is missing. They keep their names for the
  // day when they are complete again, and, where they were pulled, the layers that are left; Remove
  // knows them too.
  std::vector<std::shared_ptr<const Image>> Incomplete() const;

  // Deletes layers that no image and no container uses and that are older than `age`: leftovers of
  // interrupted pulls. Call it after a start, once HoldLayers has been called for every container.
  void CollectUnused(std::chrono::seconds age);
  // Waits until all layers that were given up are gone from the disk.
  void FlushDeletions();

  // What interrupted pulls left of blobs; any thread. CollectUnused collects there too, what is a
  // day old.
  ResumeFiles& resume_files();

  // Before a pull of so many bytes, compressed: kResourceExhausted when the disk cannot have room
  // for them and the reserve of LayerWriterLimits.
  Status CheckRoom(uint64_t bytes) const;
  // Bytes and inodes of all layers and of what interrupted pulls left, kept up to date, never
  // walked on call.
  struct Usage {
    uint64_t bytes = 0;
    uint64_t inodes = 0;
  };
  Usage DiskUsage() const;
  const std::string& root() const;

 private:
  struct State;
  explicit ImageStore(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gantry::images
