// The root file system of a container, seen from its init: attached in the init's own mount
// namespace, entered with pivot_root, made read-only. Called in the order of declaration.
#pragma once

#include <string>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

struct AttachedRoot {
  UniqueFd fd;              // O_PATH, the container's root directory
  bool shared = false;      // rootfs_propagation keeps the host's mounts shared with it
  std::string mount_point;  // host path where it is mounted, as long as the host is in view
};

// Needs a mount namespace of its own. Sets the propagation of all its mounts (rootfs_propagation,
// slave by default) and attaches the detached mount `rootfs_fd` on `mount_point`, or, when it is
// -1, a recursive bind of spec.root.path (on itself when `mount_point` is empty). `rootfs_fd` is
// left open.
StatusOr<AttachedRoot> AttachRoot(const spec::Spec& spec, int rootfs_fd,
                                  const std::string& mount_point);

// Makes it "/" and detaches the host's tree. The working directory is then "/". `shared`: the
// host's mounts in this namespace may be shared with the host.
Status PivotInto(int root_fd, bool shared);

// Read-only and propagation as the spec says. Last: nothing can be made in a read-only root.
Status SealRoot(const spec::Spec& spec, int root_fd);

}  // namespace gantry::runtime
