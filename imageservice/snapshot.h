// Root file systems of containers: a volatile overlay over an image's layers, as a detached mount.
//
// Mounting is done by threads in a private mount namespace, the workshop, so that nothing ever
// shows in the host's mount table. Kernels without overlayfs' lowerdir+ (before 6.7) are served
// with relative paths and mount(2) inside it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "imageservice/image_store.h"
#include "imageservice/workshop.h"
#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

class Snapshots {
 public:
  // `directory` (below the store's root; made when missing) holds <container id>/{diff,work}.
  // `store` outlives this.
  static StatusOr<std::unique_ptr<Snapshots>> Open(const ImageStore* store,
                                                   const std::string& directory,
                                                   const WorkshopOptions& options = {});
  ~Snapshots();

  // Makes the container's writable layer and its overlay. Returns a detached mount that the caller
  // attaches or closes. On failure nothing is left behind. kAlreadyExists when the container has
  // one; kFailedPrecondition when a layer is not here (hold the layers first); kInvalidArgument: an
  // id that cannot be a file name, or a layer that is no digest.
  StatusOr<UniqueFd> Create(const std::string& container_id,
                            const std::vector<std::string>& layers);

  // A read-only detached mount of the image's tree alone (to read its passwd, to copy volume
  // content).
  StatusOr<UniqueFd> View(const std::vector<std::string>& layers);

  // Deletes the writable layer, in the background; its mount must be gone or going. OK for an
  // unknown id.
  Status Remove(const std::string& container_id);

  std::string UpperDirectory(const std::string& container_id) const;
  std::vector<std::string> List()
      const;  // container ids with a writable layer, for the sweep at start

 private:
  struct State;
  explicit Snapshots(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gantry::images
