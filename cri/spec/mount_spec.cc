// The mounts of a container: what every container has, the pod's files, the image's volumes, what
// CRI asks for.
#include <algorithm>

#include "absl/strings/str_cat.h"

#include "cri/spec/container_spec.h"

namespace gantry::cri {
namespace {

std::vector<spec::Mount> StandardMounts(const SpecInput& input) {
  const bool privileged = IsPrivileged(input);
  const std::string access = privileged ? "rw" : "ro";
  return {
      {"/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}, {}, {}},
      {"/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}, {}, {}},
      {"/dev/pts",
       "devpts",
       "devpts",
       {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"},
       {},
       {}},
      {"/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}, {}, {}},
      {"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", access}, {}, {}},
      {"/sys/fs/cgroup",
       "cgroup",
       "cgroup",
       {"nosuid", "noexec", "nodev", "relatime", access},
       {},
       {}},
  };
}

spec::Mount Bind(const std::string& destination, const std::string& source, bool readonly) {
  return {destination, "bind", source, {"rbind", "rprivate", readonly ? "ro" : "rw"}, {}, {}};
}

// hosts, hostname and resolv.conf are written for the pod; /dev/shm is shared in it.
std::vector<spec::Mount> PodMounts(const SpecInput& input) {
  const bool readonly = input.container->linux().security_context().readonly_rootfs();
  std::vector<spec::Mount> mounts;
  for (const char* name : {"hosts", "hostname", "resolv.conf"})
    mounts.push_back(
        Bind(absl::StrCat("/etc/", name), absl::StrCat(input.pod_directory, "/", name), readonly));
  const bool host_ipc = NamespacesOf(*input.sandbox).ipc() == v1::NODE;
  mounts.push_back({"/dev/shm",
                    "bind",
                    host_ipc ? "/dev/shm" : input.pod_directory + "/shm",
                    {"rbind", "rprivate", "nosuid", "noexec", "nodev"},
                    {},
                    {}});
  return mounts;
}

const char* PropagationOption(v1::MountPropagation propagation) {
  switch (propagation) {
    case v1::PROPAGATION_HOST_TO_CONTAINER:
      return "rslave";
    case v1::PROPAGATION_BIDIRECTIONAL:
      return "rshared";
    default:
      return "rprivate";
  }
}

Status CheckImageVolume(const std::string& what, const v1::Mount& mount) {
  if (!mount.host_path().empty())
    return absl::InvalidArgumentError(what + "it has both host_path and image");
  if (!mount.readonly())
    return absl::InvalidArgumentError(what + "a volume made of an image must be readonly");
  if (mount.propagation() != v1::PROPAGATION_PRIVATE)
    return absl::InvalidArgumentError(what + "a volume made of an image takes no propagation");
  if (mount.mount_options_size() > 0)
    return absl::InvalidArgumentError(what + "mount_options are not supported (see Status)");
  return absl::OkStatus();
}

// What is mounted below a volume in there cannot get out to the host.
Status CheckPropagation(const SpecInput& input, const v1::Mount& mount) {
  if (mount.propagation() != v1::PROPAGATION_BIDIRECTIONAL ||
      !HasUserNamespace(NamespacesOf(*input.sandbox)))
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("mount of \"", mount.container_path(),
                   "\": bidirectional propagation does not work out of a user namespace"));
}

Status CheckMount(const v1::Mount& mount) {
  const std::string what = absl::StrCat("mount of \"", mount.container_path(), "\": ");
  if (mount.container_path().empty())
    return absl::InvalidArgumentError("mount: container_path is missing");
  if (IsImageVolume(mount)) return CheckImageVolume(what, mount);
  if (!mount.image_sub_path().empty())
    return absl::InvalidArgumentError(what + "image_sub_path needs an image");
  if (mount.host_path().empty())
    return absl::InvalidArgumentError(what + "it has neither host_path nor image");
  if (mount.host_path()[0] != '/')
    return absl::InvalidArgumentError(
        absl::StrCat(what, "host_path \"", mount.host_path(), "\" is not absolute"));
  if (mount.propagation() < v1::PROPAGATION_PRIVATE ||
      mount.propagation() > v1::PROPAGATION_BIDIRECTIONAL)
    return absl::InvalidArgumentError(
        absl::StrCat(what, "unknown propagation ", static_cast<int>(mount.propagation())));
  if (mount.recursive_read_only() && !mount.readonly())
    return absl::InvalidArgumentError(what + "recursive_read_only needs readonly");
  if (mount.recursive_read_only() && mount.propagation() != v1::PROPAGATION_PRIVATE)
    return absl::InvalidArgumentError(what + "recursive_read_only needs private propagation");
  RETURN_IF_ERROR_CONTEXT(CheckIdMappings(mount), what.substr(0, what.size() - 2));
  if (mount.mount_options_size() > 0)
    return absl::InvalidArgumentError(what + "mount_options are not supported (see Status)");
  return absl::OkStatus();
}

// The mount itself comes with the request, as a descriptor.
spec::Mount ImageMount(const std::string& destination, const v1::Mount& mount) {
  return {destination,
          "bind",
          absl::StrCat("image ", mount.image().image()),
          {"rbind", "rprivate", "ro"},
          {},
          {}};
}

spec::Mount RequestedMount(const v1::Mount& mount) {
  if (IsImageVolume(mount)) return ImageMount(MountDestination(mount), mount);
  spec::Mount bind;
  bind.destination = MountDestination(mount);
  bind.type = "bind";
  bind.source = mount.host_path();
  bind.options = {"rbind", PropagationOption(mount.propagation()), mount.readonly() ? "ro" : "rw"};
  if (mount.recursive_read_only()) bind.options.emplace_back("rro");
  bind.options.emplace_back(spec::kMakeSource);
  bind.uid_mappings = MappingsOf(mount.uidmappings());
  bind.gid_mappings = MappingsOf(mount.gidmappings());
  if (!bind.uid_mappings.empty()) bind.options.emplace_back("ridmap");
  return bind;
}

// "/a//b/" and "/a/b" are one place.
std::string Cleaned(const std::string& path) {
  std::string clean;
  for (const char c : path) {
    if (c != '/' || clean.empty() || clean.back() != '/') clean += c;
  }
  if (clean.size() > 1 && clean.back() == '/') clean.pop_back();
  return clean;
}

// 0 for "/".
int64_t Depth(const std::string& path) {
  const std::string clean = Cleaned(path);
  return clean == "/" ? 0 : std::count(clean.begin(), clean.end(), '/');
}

// A mount that is asked for stands in for a standard one of the same place.
void Place(std::vector<spec::Mount>* mounts, spec::Mount mount) {
  const std::string destination = Cleaned(mount.destination);
  std::erase_if(*mounts, [&destination](const spec::Mount& other) {
    return Cleaned(other.destination) == destination;
  });
  mounts->push_back(std::move(mount));
}

}  // namespace

std::string MountDestination(const v1::Mount& mount) {
  const std::string& path = mount.container_path();
  return path[0] == '/' ? path : "/" + path;
}

StatusOr<std::vector<spec::Mount>> MountSpec(const SpecInput& input) {
  std::vector<spec::Mount> mounts = StandardMounts(input);
  for (spec::Mount& mount : PodMounts(input)) mounts.push_back(std::move(mount));
  for (const VolumeMount& volume : input.volumes)
    Place(&mounts, Bind(volume.container_path, volume.host_path, false));
  for (const auto& mount : input.container->mounts()) {
    RETURN_IF_ERROR(CheckMount(mount));
    RETURN_IF_ERROR(CheckPropagation(input, mount));
    Place(&mounts, RequestedMount(mount));
  }
  // Outer places first, so that a mount never hides another: a volume at /etc leaves the pod's
  // resolv.conf where it is.
  std::stable_sort(mounts.begin(), mounts.end(), [](const spec::Mount& a, const spec::Mount& b) {
    return Depth(a.destination) < Depth(b.destination);
  });
  return mounts;
}

}  // namespace gantry::cri
