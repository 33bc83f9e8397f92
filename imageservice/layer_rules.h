// What both forms of a layer (directories, EROFS) keep of an entry, and what they refuse. Said
// once, so that the same archive gives the same tree in either form.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

#include "imageservice/layer_reader.h"
#include "runtime/base/status.h"

namespace gantry::images {

struct LayerWriterLimits {
  uint64_t max_inodes = 5'000'000;
  // Stop with kResourceExhausted before less than this part of the file system (and at most half a
  // GiB) is left free.
  uint64_t free_fraction = 50;
};

// Resolution of a path inside the layer: links followed (as the kernel), components gone through.
inline constexpr int kMaxLayerLinks = 40;
inline constexpr size_t kMaxLayerSteps = 4096;

// All extended attributes of one entry, in the bytes that EROFS needs for them: there an inode and
// its attributes stand in one block of 4096. ext4 has about as much room.
inline constexpr size_t kMaxXattrBytes = 3968;

// In 2446: the last second that ext4 can hold (34 bits, from 1901 on).
inline constexpr int64_t kMaxLayerTime = 15'032'385'535;

// Before 1970 becomes 1970, after kMaxLayerTime becomes that, as the kernel does.
TarTime ClampedTime(const TarTime& time);

using Xattrs = std::vector<std::pair<std::string, std::string>>;

// The attributes that a layer's entry keeps: file capabilities (files) and the user's own (files
// and directories). Dropped: trusted.* and user.overlay.*, by which an image could command
// overlayfs, and the labels of the machine that made the layer (security.selinux, security.ima,
// security.evm …). kInvalidArgument: a malformed capability, a name that no kernel takes, or more
// than kMaxXattrBytes.
StatusOr<Xattrs> KeptXattrs(const TarEntry& entry);

// True when KeptXattrs could have kept it on a file, or a directory.
bool IsKeptXattr(absl::string_view name, absl::string_view value, bool directory);

// The bytes they take in an EROFS inode, 0 for none.
size_t XattrBytes(const Xattrs& xattrs);

// A symbolic link's target: not empty, no NUL, at most 4095 bytes. Else kInvalidArgument.
Status CheckSymlinkTarget(absl::string_view target);

// A device node: numbers in range, and no whiteout. Else kInvalidArgument. A FIFO is always good.
Status CheckDevice(const TarEntry& entry);

// A failed write call: kResourceExhausted when the disk, quota or a size limit is the reason, else
// as SyscallError.
Status WriteError(absl::string_view call, absl::string_view object);

// pwrite(2) of all of `bytes` at `offset`. As WriteError; `object` is named there.
Status WriteAt(int fd, uint64_t offset, absl::string_view bytes, absl::string_view object);

// kResourceExhausted when the file system of `fd` has less free than `limits` wants, or would have
// with `more` bytes in it.
Status CheckFreeSpace(int fd, const LayerWriterLimits& limits, uint64_t more = 0);

}  // namespace gantry::images
