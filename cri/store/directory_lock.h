// One daemon per folder.
#pragma once

#include <string>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::cri {

// Makes the folder where it is missing (mode 0711: paths below it are passed to unprivileged
// processes, names in it are not listed) and takes its lock, flock(2), which lives as long as the
// descriptor and ends with the process, however that ends. Take it before anything in the folder is
// touched. kFailedPrecondition when another process holds it, with its pid where the kernel tells.
StatusOr<UniqueFd> LockDirectory(const std::string& path);

}  // namespace gantry::cri
