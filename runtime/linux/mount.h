// Mounts: one thin wrapper for each system call. What to mount where is decided in
// runtime/mounts.h.
//
// A mount descriptor (from NewMount, CloneTree) is detached: it vanishes with the descriptor unless
// it is attached with MoveMount. Linux 5.2 for the descriptors, 5.12 for SetMountAttributes.
#pragma once

#include <sys/mount.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry {

// mount(2). Empty strings are passed as NULL.
Status Mount(const std::string& source, const std::string& target, const std::string& type,
             unsigned long flags, const std::string& data = "");

// umount2(2).
Status Unmount(const std::string& target, int flags);

// One option of a file system: a flag when `value` is empty.
using MountOption = std::pair<std::string, std::string>;

// fsopen, fsconfig, fsmount: a detached mount of a new file system. `attributes`: MOUNT_ATTR_*.
// On failure the message ends in what the file system said, when it said something.
StatusOr<UniqueFd> NewMount(const std::string& type, const std::string& source,
                            const std::vector<MountOption>& options, unsigned attributes);

// open_tree(2) with OPEN_TREE_CLONE: a detached copy of the mount at `path`, with all below it when
// `recursive`. An empty path means `dirfd` itself.
StatusOr<UniqueFd> CloneTree(int dirfd, const std::string& path, bool recursive);

// move_mount(2): attaches a mount descriptor on top of what `target` (O_PATH) refers to. `name` is
// for the message.
Status MoveMount(int mount_fd, int target_fd, absl::string_view name);

// mount_setattr(2) on the mount that `mount_fd` is the root of; `attributes.propagation` as
// MS_PRIVATE, MS_SLAVE ….
Status SetMountAttributes(int mount_fd, const struct mount_attr& attributes, bool recursive,
                          absl::string_view name);

// The same by path: the path has to be a mount point (EINVAL otherwise).
Status SetMountAttributesAt(const std::string& path, const struct mount_attr& attributes,
                            bool recursive);

// pivot_root(2).
Status PivotRoot(const std::string& new_root, const std::string& put_old);

}  // namespace gantry
