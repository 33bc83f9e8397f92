// Names of block devices, for labels.
#pragma once

#include <cstdint>
#include <string>

namespace gantry::cri {

// "/dev/sda" for 8:0; "8:0" when the kernel has no such device.
std::string BlockDeviceName(uint32_t major, uint32_t minor);

// Of the file system that holds `path`; for one without a device of its own (btrfs, overlay) what
// is mounted there. Empty: not found.
std::string FileSystemDevice(const std::string& path);

}  // namespace gantry::cri
