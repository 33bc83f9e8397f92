#include "imageservice/layer_rules.h"

#include <linux/capability.h>
#include <linux/limits.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gantry::images {
namespace {

constexpr absl::string_view kCapability = "security.capability", kUser = "user.",
                            kOverlay = "user.overlay.";
constexpr uint64_t kMaxMajor = (1u << 12) - 1, kMaxMinor = (1u << 20) - 1;
constexpr uint64_t kMaxReserve = 512u << 20;
constexpr size_t kXattrHeader = 12, kXattrEntry = 4, kXattrAlign = 4;  // of EROFS

Status Bad(absl::string_view why) { return absl::InvalidArgumentError(why); }

// The forms of linux/capability.h: revision 2 (20 bytes) and 3 (24 bytes, with the root's uid).
bool IsFileCapability(absl::string_view value) {
  uint32_t magic = 0;
  if (value.size() < sizeof(magic)) return false;
  memcpy(&magic, value.data(),
         sizeof(magic));  // little endian on disk, as are the machines we know
  if ((magic & ~VFS_CAP_REVISION_MASK & ~uint32_t{VFS_CAP_FLAGS_EFFECTIVE}) != 0) return false;
  const uint32_t revision = magic & VFS_CAP_REVISION_MASK;
  return (revision == VFS_CAP_REVISION_2 && value.size() == XATTR_CAPS_SZ_2) ||
         (revision == VFS_CAP_REVISION_3 && value.size() == XATTR_CAPS_SZ_3);
}

bool IsUserName(absl::string_view name) {
  return absl::StartsWith(name, kUser) && !absl::StartsWith(name, kOverlay);
}

bool IsGoodName(absl::string_view name) {
  return name.size() > kUser.size() && name.size() <= XATTR_NAME_MAX &&
         name.find('\0') == absl::string_view::npos;
}

}  // namespace

TarTime ClampedTime(const TarTime& time) {
  if (time.seconds < 0) return TarTime();
  if (time.seconds >= kMaxLayerTime) return TarTime{kMaxLayerTime, 0};
  return time;
}

StatusOr<Xattrs> KeptXattrs(const TarEntry& entry) {
  Xattrs kept;
  if (entry.type != TarType::kFile && entry.type != TarType::kDirectory) return kept;
  for (const auto& [name, value] : entry.xattrs) {
    const bool capability = name == kCapability && entry.type == TarType::kFile;
    const bool user = IsUserName(name);
    if (!capability && !user) continue;
    if (capability && !IsFileCapability(value)) return Bad("malformed security.capability");
    if (user && !IsGoodName(name)) return Bad("the name of an extended attribute is no good");
    kept.emplace_back(name, value);
  }
  if (XattrBytes(kept) > kMaxXattrBytes) {
    return Bad(absl::StrCat("more than ", kMaxXattrBytes, " bytes of extended attributes"));
  }
  return kept;
}

bool IsKeptXattr(absl::string_view name, absl::string_view value, bool directory) {
  if (name == kCapability) return !directory && IsFileCapability(value);
  return IsUserName(name) && IsGoodName(name);
}

size_t XattrBytes(const Xattrs& xattrs) {
  if (xattrs.empty()) return 0;
  size_t bytes = kXattrHeader;
  for (const auto& [name, value] : xattrs) {
    const size_t prefix = name.find('.') + 1;  // stored as a number
    const size_t entry = kXattrEntry + name.size() - prefix + value.size();
    bytes += (entry + kXattrAlign - 1) / kXattrAlign * kXattrAlign;
  }
  return bytes;
}

Status CheckSymlinkTarget(absl::string_view target) {
  if (target.empty()) return Bad("a symbolic link to nothing");
  if (target.find('\0') != absl::string_view::npos) return Bad("a NUL in the link target");
  if (target.size() >= PATH_MAX) return Bad("a link target of more than 4095 bytes");
  return absl::OkStatus();
}

Status CheckDevice(const TarEntry& entry) {
  if (entry.type == TarType::kFifo) return absl::OkStatus();
  if (entry.dev_major > kMaxMajor || entry.dev_minor > kMaxMinor) {
    return Bad(absl::StrCat("device ", entry.dev_major, ":", entry.dev_minor, " is out of range"));
  }
  if (entry.type == TarType::kCharDevice && entry.dev_major == 0 && entry.dev_minor == 0) {
    return Bad("character device 0:0, which overlayfs takes for a whiteout");
  }
  return absl::OkStatus();
}

Status WriteError(absl::string_view call, absl::string_view object) {
  const int error = errno;
  Status status = SyscallError(call, object, error);
  if (error == ENOSPC || error == EDQUOT || error == EFBIG || error == EMLINK) {
    return absl::ResourceExhaustedError(status.message());
  }
  return status;
}

Status WriteAt(int fd, uint64_t offset, absl::string_view bytes, absl::string_view object) {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return WriteError("write", object);
    bytes.remove_prefix(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return absl::OkStatus();
}

Status CheckFreeSpace(int fd, const LayerWriterLimits& limits, uint64_t more) {
  struct statfs fs;
  if (fstatfs(fd, &fs) != 0) return SyscallError("fstatfs");
  const auto block = static_cast<uint64_t>(fs.f_bsize);
  const uint64_t free = fs.f_bavail * block;
  const uint64_t reserve = std::min(fs.f_blocks * block / limits.free_fraction, kMaxReserve);
  if (fs.f_blocks == 0 || (free >= reserve && free - reserve >= more)) return absl::OkStatus();
  std::string coming;
  if (more > 0) coming = absl::StrCat(", and at least ", more, " bytes are to come");
  return absl::ResourceExhaustedError(absl::StrCat("the disk is full: ", free, " bytes left, ",
                                                   reserve, " of them kept free", coming));
}

}  // namespace gantry::images
