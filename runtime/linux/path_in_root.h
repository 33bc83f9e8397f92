// Paths below a root directory that somebody else wrote: an image, a volume. Symbolic links,
// absolute or with "..", are resolved as if `root` were "/" (openat2(2) RESOLVE_IN_ROOT,
// Linux 5.6), magic links of procfs are refused, and what is missing is made one component at a
// time by descriptor. Nothing here reaches outside of `root`.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <string>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry {

// Opens `path` (absolute or relative: the same) below the directory `root`. O_CREAT works with a
// `mode`. On failure SyscallError("open", path): ENOENT, ELOOP (magic link, too many links),
// ENOTDIR …
StatusOr<UniqueFd> OpenInRoot(int root, const std::string& path, int flags, mode_t mode = 0);

// Opens `path` (relative) below the directory `root` when all of it, links included, stays below:
// EXDEV otherwise (RESOLVE_BENEATH), and ENOENT and the like as OpenInRoot.
StatusOr<UniqueFd> OpenBeneath(int root, const std::string& path, int flags);

enum class NodeKind { kDirectory, kFile };

// An O_PATH descriptor of `path` below `root`. What is missing is made: directories on the way with
// `directory_mode`, the last component as a directory or an empty file (mode 0644). A dangling link
// on the way is followed, and its target made, inside `root`. The kind of a last component that
// exists is the caller's to check.
StatusOr<UniqueFd> EnsureInRoot(int root, const std::string& path, NodeKind kind,
                                mode_t directory_mode = 0755);

// A directory below a root and the name of something in it, which need not exist.
struct NodeName {
  UniqueFd parent;
  std::string name;
};

// The parent directory of `path` below `root`, made when missing. kInvalidArgument for a path that
// ends in ".." or is "/".
StatusOr<NodeName> EnsureParentInRoot(int root, const std::string& path,
                                      mode_t directory_mode = 0755);

}  // namespace gantry
