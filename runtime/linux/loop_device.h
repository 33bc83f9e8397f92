// A file as a block device: loop(4).
#pragma once

#include <string>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry {

// The device lives while it is mounted or `fd` is open, whichever ends last.
struct LoopDevice {
  UniqueFd fd;
  std::string path;  // "/dev/loop7"
};

// Makes `file` (open for reading) a read-only block device, past the page cache of the file where
// its file system can (the device has one of its own). LOOP_CONFIGURE, Linux 5.8. Any thread.
StatusOr<LoopDevice> AttachLoopDevice(int file);

}  // namespace gantry
