// The mount namespace in which the workshop's threads live: its root is the image store's folder
// and nothing else. Pinned, it outlives gantryd, and with it the mounts of layers that running
// containers use: a second mount of an EROFS file would have page cache of its own.
#pragma once

#include <string>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

// Puts the calling thread into a new namespace with `root` (absolute) as its root, and as its
// working directory. Returns a descriptor of it. unshare(2), pivot_root(2); CAP_SYS_ADMIN.
StatusOr<UniqueFd> EnterNewWorkshop(const std::string& root);

// Puts the calling thread into one that there is. kFailedPrecondition: it is one of another `root`;
// the thread is then of no use.
Status EnterWorkshop(int mount_namespace, const std::string& root);

// `directory` (absolute; made when missing) becomes a private mount with the namespace in a file of
// it; both appear in the host's mount table. Idempotent for the same namespace.
Status PinWorkshop(int mount_namespace, const std::string& directory);
// What is pinned there; kNotFound when nothing is.
StatusOr<UniqueFd> OpenPinnedWorkshop(const std::string& directory);
// Gives it up. OK when nothing is pinned.
Status UnpinWorkshop(const std::string& directory);

}  // namespace gantry::images
