#include "cri/metrics/block_devices.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "runtime/linux/file.h"

namespace gantry::cri {
namespace {

constexpr size_t kMountInfoLimit = 64 << 20;

// proc(5): "ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [OPTIONAL…] - TYPE SOURCE OPTIONS".
std::string MountSource(const std::string& device) {
  const auto mounts = ReadFileAt(AT_FDCWD, "/proc/self/mountinfo", kMountInfoLimit);
  if (!mounts.ok()) return "";
  for (const absl::string_view line : absl::StrSplit(*mounts, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
    if (fields.size() < 3 || fields[2] != device) continue;
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.end() - dash > 2) return std::string(dash[2]);
  }
  return "";
}

}  // namespace

std::string BlockDeviceName(uint32_t major, uint32_t minor) {
  const std::string device = absl::StrCat(major, ":", minor);
  char target[512];
  const ssize_t length =
      readlink(absl::StrCat("/sys/dev/block/", device).c_str(), target, sizeof target);
  if (length <= 0) return device;
  const absl::string_view path(target, static_cast<size_t>(length));
  const size_t slash = path.rfind('/');
  return absl::StrCat("/dev/", slash == absl::string_view::npos ? path : path.substr(slash + 1));
}

std::string FileSystemDevice(const std::string& path) {
  struct stat st;
  if (stat(path.c_str(), &st) != 0) return "";
  const uint32_t major_number = major(st.st_dev), minor_number = minor(st.st_dev);
  // Major 0: the kernel has made the number up.
  if (major_number != 0) return BlockDeviceName(major_number, minor_number);
  return MountSource(absl::StrCat(major_number, ":", minor_number));
}

}  // namespace gantry::cri
