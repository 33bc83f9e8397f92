// Root file systems of containers: a volatile overlay over an image's layers, as a detached mount.
//
// Mounting is done by threads in a private mount namespace, the workshop, so that nothing ever
// shows in the host's mount table. Kernels without overlayfs' lowerdir+ (before 6.7) are served
// with relative paths and mount(2) inside it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "imageservice/erofs_mount.h"
#include "imageservice/image_store.h"
#include "imageservice/workshop.h"
#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

// Whose a container's files are, when it is in a user namespace of its own.
struct IdMap {
  int user_namespace = -1;  // borrowed; its mapping is the container's
  uint32_t root_uid = 0;    // what it maps 0 to
  uint32_t root_gid = 0;
};

class Snapshots {
 public:
  // `directory` (below the store's root; made when missing) holds <container id>/{diff,work}.
  // `store` outlives this.
  static StatusOr<std::unique_ptr<Snapshots>> Open(const ImageStore* store,
                                                   const std::string& directory,
                                                   const WorkshopOptions& options = {});
  // Containers that are left keep the workshop, when it has a pin; else it goes.
  ~Snapshots();

  // Makes the container's writable layer and its overlay. Returns a detached mount that the caller
  // attaches or closes. On failure nothing is left behind. kAlreadyExists when the container has
  // one; kFailedPrecondition when a layer is not here (hold the layers first); kInvalidArgument: an
  // id that cannot be a file name, or a layer that is no digest.
  // With `id_map` the image's owners show mapped, and so does on disk what the container writes.
  StatusOr<UniqueFd> Create(const std::string& container_id, const std::vector<std::string>& layers,
                            const IdMap& id_map = {});

  // A read-only detached mount of the image's tree alone (to read its passwd, to copy volume
  // content).
  StatusOr<UniqueFd> View(const std::vector<std::string>& layers);

  // A read-only detached mount of the image's tree, or of `sub_path` in it, for another container
  // to have as a volume. kInvalidArgument: the sub path is missing or leads out of the tree.
  StatusOr<UniqueFd> Volume(const std::vector<std::string>& layers, const std::string& sub_path,
                            int user_namespace);

  // Tries whether the file system of the layers, and overlayfs over it, can map owners: OK, or why
  // not.
  Status ProbeIdMap(int user_namespace);

  // Deletes the writable layer, in the background; its mount must be gone or going. OK for an
  // unknown id.
  Status Remove(const std::string& container_id);

  // How EROFS layers can be mounted on this node, found out at Open; and, when they cannot, why.
  ErofsSupport erofs_support() const;
  const std::string& erofs_reason() const;

  std::string UpperDirectory(const std::string& container_id) const;
  std::vector<std::string> List()
      const;  // container ids with a writable layer, for the sweep at start

 private:
  struct State;
  explicit Snapshots(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gantry::images
