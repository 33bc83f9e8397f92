// Mounting EROFS layers: from their files where the kernel can (Linux 6.12), through loop devices
// where it cannot.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

enum class ErofsSupport { kNone, kLoop, kFile };

// "none", "loop", "file".
absl::string_view ErofsSupportName(ErofsSupport support);

// A detached read-only mount of the layer whose files `meta` and `data` lie in `folder` (absolute).
// The caller has verified meta.
StatusOr<UniqueFd> MountErofs(const std::string& folder, ErofsSupport support);

// Finds out by making a small layer in `scratch` (a directory on the layers' file system), mounting
// it and reading a file through it. kNone comes with the reason in `why`, when it is given.
ErofsSupport ProbeErofs(const std::string& scratch, std::string* why = nullptr);

}  // namespace gantry::images
