#include "runtime/devices.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "runtime/linux/file.h"
#include "runtime/linux/mount.h"
#include "runtime/linux/path_in_root.h"

namespace gantry::runtime {
namespace {

struct DefaultDevice {
  absl::string_view path;
  int64_t major;
  int64_t minor;
};

constexpr DefaultDevice kDefaults[] = {
    {"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
    {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
};

constexpr std::pair<const char*, const char*> kLinks[] = {
    {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"}, {"core", "/proc/kcore"},      {"ptmx", "pts/ptmx"},
};

constexpr mode_t kDefaultMode = 0666;

struct Place {
  int parent;
  const std::string& name;
};

// An id of the container's as the host's.
StatusOr<uint32_t> OnHost(const std::vector<spec::IdMapping>& mappings, uint32_t id) {
  if (mappings.empty()) return id;
  const auto host = HostId(mappings, id);
  if (host.has_value()) return *host;
  return absl::InvalidArgumentError(
      absl::StrCat("owner ", id, " is not mapped in the container's user namespace"));
}

StatusOr<mode_t> TypeBits(const std::string& type) {
  if (type == "c" || type == "u") return static_cast<mode_t>(S_IFCHR);
  if (type == "b") return static_cast<mode_t>(S_IFBLK);
  if (type == "p") return static_cast<mode_t>(S_IFIFO);
  return absl::InvalidArgumentError(absl::StrCat("unknown device type \"", type, "\""));
}

Status BindNode(const Place& place, const spec::Device& device) {
  ASSIGN_OR_RETURN(const UniqueFd file, OpenAt(place.parent, place.name,
                                               O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0644));
  ASSIGN_OR_RETURN(const UniqueFd node, CloneTree(AT_FDCWD, device.path, /*recursive=*/false));
  return MoveMount(node.get(), file.get(), device.path);
}

// Something is at the path already: fine if it is that very device.
Status CheckNode(const Place& place, const spec::Device& device, mode_t type) {
  struct stat info;
  if (fstatat(place.parent, place.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    return SyscallError("stat", device.path);
  }
  const dev_t number =
      makedev(static_cast<unsigned>(device.major), static_cast<unsigned>(device.minor));
  if ((info.st_mode & S_IFMT) == type && (type == S_IFIFO || info.st_rdev == number)) {
    return absl::OkStatus();
  }
  return SyscallError("mknod", device.path, EEXIST);
}

Status MakeNode(const Place& place, const spec::Device& device, const IdMaps& maps) {
  ASSIGN_OR_RETURN(const mode_t type, TypeBits(device.type));
  const mode_t mode = device.file_mode.value_or(kDefaultMode) & 07777;
  const dev_t number =
      makedev(static_cast<unsigned>(device.major), static_cast<unsigned>(device.minor));
  if (mknodat(place.parent, place.name.c_str(), type | mode, number) != 0) {
    if (errno == EPERM) return BindNode(place, device);
    if (errno == EEXIST) return CheckNode(place, device, type);
    return SyscallError("mknod", device.path);
  }
  if (device.uid.value_or(0) == 0 && device.gid.value_or(0) == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const uid_t uid, OnHost(maps.uids, device.uid.value_or(0)));
  ASSIGN_OR_RETURN(const gid_t gid, OnHost(maps.gids, device.gid.value_or(0)));
  if (fchownat(place.parent, place.name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW) != 0) {
    return SyscallError("chown", device.path);
  }
  return absl::OkStatus();
}

// "null" for "/dev/null"; nothing for a path that is not a direct child of /dev.
std::optional<std::string> NameInDev(absl::string_view path) {
  constexpr absl::string_view kDev = "/dev/";
  if (path.substr(0, kDev.size()) != kDev) return std::nullopt;
  const absl::string_view name = path.substr(kDev.size());
  if (name.empty() || name == "." || name == ".." || name.find('/') != absl::string_view::npos) {
    return std::nullopt;
  }
  return std::string(name);
}

Status MakeDevice(const spec::Device& device, const IdMaps& maps, int root_fd, int dev_fd) {
  if (auto name = NameInDev(device.path)) return MakeNode({dev_fd, *name}, device, maps);
  ASSIGN_OR_RETURN(const NodeName node, EnsureParentInRoot(root_fd, device.path));
  return MakeNode({node.parent.get(), node.name}, device, maps);
}

}  // namespace

std::vector<spec::Device> DevicesOf(const spec::Spec& spec) {
  std::vector<spec::Device> devices = spec.linux_.devices;
  for (const DefaultDevice& standard : kDefaults) {
    bool named = false;
    for (const spec::Device& device : spec.linux_.devices) named |= device.path == standard.path;
    if (named) continue;
    spec::Device device;
    device.path = std::string(standard.path);
    device.type = "c";
    device.major = standard.major;
    device.minor = standard.minor;
    devices.push_back(std::move(device));
  }
  return devices;
}

bool HasForeignDev(const spec::Spec& spec) {
  for (const spec::Mount& mount : spec.mounts) {
    if (mount.destination != "/dev" && mount.destination != "/dev/") continue;
    if (mount.type == "bind") return true;
    for (const std::string& option : mount.options) {
      if (option == "bind" || option == "rbind") return true;
    }
  }
  return false;
}

Status SetUpDevices(const spec::Spec& spec, const IdMaps& maps, int root_fd) {
  // Never through a link: an image whose /dev leads elsewhere would have its files replaced there
  // (CVE-2026-47766).
  ASSIGN_OR_RETURN_CONTEXT(const UniqueFd dev,
                           OpenInRoot(root_fd, "dev", O_PATH | O_DIRECTORY | O_NOFOLLOW), "/dev");
  for (const spec::Device& device : DevicesOf(spec)) {
    const Status made = MakeDevice(device, maps, root_fd, dev.get());
    if (!made.ok()) return Annotate(made, absl::StrCat("device \"", device.path, "\""));
  }
  for (const auto& [name, target] : kLinks) {
    if (symlinkat(target, dev.get(), name) != 0 && errno != EEXIST) {
      return SyscallError("symlink", absl::StrCat("/dev/", name));
    }
  }
  return absl::OkStatus();
}

}  // namespace gantry::runtime
