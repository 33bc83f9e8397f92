// Walking, measuring and deleting directory trees by descriptor: whatever a tree contains, however
// deep, nothing outside it is touched, no symbolic link followed and no more than a few descriptors
// held.
#pragma once

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

struct TreeUsage {
  uint64_t bytes = 0;  // allocated on disk; a file with several links once
  uint64_t inodes = 0;
  friend bool operator==(const TreeUsage&, const TreeUsage&) = default;
};

// Calls `visit(directory, name, is_directory)` for everything below `root` (open for reading), a
// directory after what is in it; `visit` may unlink. Stops at the first error, and with kInternal
// at a mount or when the tree is rebuilt under the walk.
Status WalkTree(
    int root, absl::FunctionRef<Status(int directory, const char* name, bool is_directory)> visit);

// Opens what lies below `root` by a path without links ("" is the root), O_CLOEXEC and O_NOFOLLOW;
// `flags` of open(2). Not valid, with errno: it is not there, or a link or a mount is on the way.
UniqueFd OpenWithoutLinks(int root, const std::string& path, int flags);

// Deletes `name` below the directory `parent`, whatever it is. OK when it is gone already.
Status RemoveTree(int parent, const std::string& name);

// What is below and at `path`.
StatusOr<TreeUsage> MeasureTree(const std::string& path);

}  // namespace gantry::images
