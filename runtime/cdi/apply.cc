#include "runtime/cdi/apply.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace gantry::cdi {
namespace {

std::string KeyOf(const std::string& variable) {
  return variable.substr(0, variable.find('=') + 1);
}

void ApplyEnv(const std::vector<std::string>& env, spec::Process* process) {
  for (const std::string& variable : env) {
    const auto same =
        std::find_if(process->env.begin(), process->env.end(),
                     [&](const auto& other) { return KeyOf(other) == KeyOf(variable); });
    if (same != process->env.end())
      *same = variable;
    else
      process->env.push_back(variable);
  }
}

// lstat: a link that is swapped in cannot name another device.
Status FillFromHost(const std::string& host_path, spec::Device* device) {
  struct stat info;
  if (lstat(host_path.c_str(), &info) != 0)
    return absl::FailedPreconditionError(
        absl::StrCat("device node \"", host_path, "\": ", strerror(errno)));
  const char* type = S_ISCHR(info.st_mode)    ? "c"
                     : S_ISBLK(info.st_mode)  ? "b"
                     : S_ISFIFO(info.st_mode) ? "p"
                                              : nullptr;
  if (type == nullptr)
    return absl::FailedPreconditionError(
        absl::StrCat("device node \"", host_path, "\" is no device"));
  const bool same_type = device->type.empty() || device->type == type ||
                         (device->type == "u" && S_ISCHR(info.st_mode));
  if (!same_type)
    return absl::FailedPreconditionError(
        absl::StrCat("device node \"", host_path, "\" is of type ", type, ", not ", device->type));
  device->type = type;
  device->major = static_cast<int64_t>(major(info.st_rdev));
  device->minor = static_cast<int64_t>(minor(info.st_rdev));
  if (!device->file_mode) device->file_mode = info.st_mode & 0777;
  return absl::OkStatus();
}

Status ApplyNode(const DeviceNode& node, spec::Spec* spec) {
  spec::Device device;
  device.path = node.path;
  device.type = node.type;
  device.major = node.major;
  device.minor = node.minor;
  device.file_mode = node.file_mode;
  const bool known = !node.type.empty() && (node.major != 0 || node.type == "p");
  if (!known)
    RETURN_IF_ERROR(FillFromHost(node.host_path.empty() ? node.path : node.host_path, &device));
  // Who runs the container shall be able to open its device.
  const spec::User& user = spec->process->user;
  device.uid = node.uid ? node.uid : user.uid > 0 ? std::optional(user.uid) : std::nullopt;
  device.gid = node.gid ? node.gid : user.gid > 0 ? std::optional(user.gid) : std::nullopt;
  std::erase_if(spec->linux_.devices, [&](const auto& other) { return other.path == node.path; });
  spec->linux_.devices.push_back(device);
  if (node.permissions == "none" || device.type == "p") return absl::OkStatus();
  if (!spec->linux_.resources) spec->linux_.resources.emplace();
  spec->linux_.resources->devices.push_back({true, device.type == "b" ? "b" : "c", device.major,
                                             device.minor,
                                             node.permissions.empty() ? "rwm" : node.permissions});
  return absl::OkStatus();
}

void ApplyMount(spec::Mount mount, spec::Spec* spec) {
  if (mount.type.empty()) mount.type = "bind";
  const bool says_bind =
      std::any_of(mount.options.begin(), mount.options.end(),
                  [](const std::string& option) { return option == "bind" || option == "rbind"; });
  if (mount.type == "bind" && !says_bind) mount.options.emplace_back("bind");
  std::erase_if(spec->mounts,
                [&](const auto& other) { return other.destination == mount.destination; });
  spec->mounts.push_back(std::move(mount));
}

size_t Depth(const spec::Mount& mount) {
  const absl::string_view path = absl::StripSuffix(mount.destination, "/");
  return static_cast<size_t>(std::count(path.begin(), path.end(), '/'));
}

Status RefuseWhatIsNotDone(const ContainerEdits& edits) {
  if (!edits.hooks.empty())
    return absl::UnimplementedError(
        absl::StrCat("it wants the hook \"", edits.hooks.front().hook.path, "\" to be run (",
                     edits.hooks.front().name, "), which gantry does not do"));
  if (edits.intel_rdt)
    return absl::UnimplementedError(
        "it wants a resource control group (intelRdt), which gantry does not make");
  if (!edits.net_devices.empty())
    return absl::UnimplementedError(absl::StrCat("it wants the network interface \"",
                                                 edits.net_devices.front(),
                                                 "\" in the container, which gantry does not do"));
  return absl::OkStatus();
}

Status ApplyEdits(const ContainerEdits& edits, spec::Spec* spec) {
  RETURN_IF_ERROR(RefuseWhatIsNotDone(edits));
  ApplyEnv(edits.env, &*spec->process);
  for (const DeviceNode& node : edits.device_nodes) RETURN_IF_ERROR(ApplyNode(node, spec));
  for (const spec::Mount& mount : edits.mounts) ApplyMount(mount, spec);
  std::vector<uint32_t>& gids = spec->process->user.additional_gids;
  for (const uint32_t gid : edits.additional_gids)
    if (std::find(gids.begin(), gids.end(), gid) == gids.end()) gids.push_back(gid);
  return absl::OkStatus();
}

}  // namespace

Status Apply(const std::vector<Found>& devices, spec::Spec* spec) {
  std::set<const LoadedFile*> files;
  bool mounts = false;
  for (const Found& found : devices) {
    const std::string context = absl::StrCat("CDI device \"", found.file->spec->kind, "=",
                                             found.device->name, "\" of ", found.file->path);
    mounts |= !found.file->spec->edits.mounts.empty() || !found.device->edits.mounts.empty();
    if (files.insert(found.file.get()).second)
      RETURN_IF_ERROR_CONTEXT(ApplyEdits(found.file->spec->edits, spec), context);
    RETURN_IF_ERROR_CONTEXT(ApplyEdits(found.device->edits, spec), context);
  }
  if (mounts)
    std::stable_sort(spec->mounts.begin(), spec->mounts.end(),
                     [](const auto& a, const auto& b) { return Depth(a) < Depth(b); });
  return absl::OkStatus();
}

}  // namespace gantry::cdi
