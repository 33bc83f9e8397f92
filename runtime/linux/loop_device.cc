#include "runtime/linux/loop_device.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"

namespace gantry {
namespace {

// Others look for a free device at the same time.
constexpr int kTries = 64;

Status Configure(int device, int file, uint32_t flags, const std::string& path) {
  struct loop_config config = {};
  config.fd = static_cast<uint32_t>(file);
  config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | flags;
  return ioctl(device, LOOP_CONFIGURE, &config) == 0 ? absl::OkStatus()
                                                     : SyscallError("LOOP_CONFIGURE", path);
}

}  // namespace

StatusOr<LoopDevice> AttachLoopDevice(int file) {
  ASSIGN_OR_RETURN(const UniqueFd control, OpenAt(AT_FDCWD, "/dev/loop-control", O_RDWR));
  Status last;
  for (int i = 0; i < kTries; ++i) {
    const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return SyscallError("LOOP_CTL_GET_FREE", "/dev/loop-control");
    LoopDevice device;
    device.path = absl::StrCat("/dev/loop", number);
    ASSIGN_OR_RETURN(device.fd, OpenAt(AT_FDCWD, device.path, O_RDONLY));
    last = Configure(device.fd.get(), file, LO_FLAGS_DIRECT_IO, device.path);
    if (ErrnoOf(last) == EINVAL) last = Configure(device.fd.get(), file, 0, device.path);
    if (last.ok()) return device;
    if (ErrnoOf(last) != EBUSY) return last;
  }
  return last;
}

}  // namespace gantry
