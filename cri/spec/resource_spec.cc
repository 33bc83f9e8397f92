// Limits and devices.
#include <dirent.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "cri/spec/container_spec.h"
#include "runtime/linux/directory_stream.h"

namespace gantry::cri {
namespace {

// In a user namespace the host's own node is bound: whoever it keeps out on the host it keeps out
// there, which a node of the container's, owned by its root, would not.
void AddDevice(const SpecInput& input, const std::string& host_path, const spec::Device& device,
               spec::Spec* spec) {
  if (HasUserNamespace(NamespacesOf(*input.sandbox))) {
    std::erase_if(spec->mounts, [&](const auto& m) { return m.destination == device.path; });
    spec->mounts.push_back(
        {device.path, "bind", host_path, {"bind", "rprivate", "nosuid", "noexec"}, {}, {}});
    return;
  }
  std::erase_if(spec->linux_.devices,
                [&device](const spec::Device& other) { return other.path == device.path; });
  spec->linux_.devices.push_back(device);
}

StatusOr<spec::Device> HostDevice(const std::string& host_path, const std::string& container_path) {
  struct stat info;
  if (stat(host_path.c_str(), &info) != 0)
    return absl::InvalidArgumentError(
        absl::StrCat("device \"", host_path, "\": ", strerror(errno)));
  if (!S_ISCHR(info.st_mode) && !S_ISBLK(info.st_mode))
    return absl::InvalidArgumentError(absl::StrCat("device \"", host_path, "\" is no device"));
  spec::Device device;
  device.path = container_path.empty() ? host_path : container_path;
  device.type = S_ISBLK(info.st_mode) ? "b" : "c";
  device.major = static_cast<int64_t>(major(info.st_rdev));
  device.minor = static_cast<int64_t>(minor(info.st_rdev));
  device.file_mode = info.st_mode & 0777;
  device.uid = info.st_uid;
  device.gid = info.st_gid;
  return device;
}

spec::DeviceRule RuleFor(const spec::Device& device, const std::string& access) {
  return {true, device.type, device.major, device.minor, access.empty() ? "rwm" : access};
}

// What every container may use: making nodes, and the standard ones.
std::vector<spec::DeviceRule> DefaultRules() {
  std::vector<spec::DeviceRule> rules = {
      {false, "a", {}, {}, "rwm"}, {true, "c", {}, {}, "m"}, {true, "b", {}, {}, "m"}};
  for (const auto& [major, minor] : std::initializer_list<std::pair<int64_t, int64_t>>{
           {1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 1}, {5, 2}, {10, 200}})
    rules.push_back({true, "c", major, minor, "rwm"});
  rules.push_back({true, "c", 136, {}, "rwm"});  // pts
  return rules;
}

bool IsContainersOwn(absl::string_view name) {
  for (const char* own : {"ptmx", "pts", "shm", "mqueue", "fd", "stdin", "stdout", "stderr",
                          "console", "core", "null", "zero", "full", "random", "urandom", "tty"})
    if (name == own) return true;
  return false;
}

// All nodes at the top of the host's /dev, for a privileged container; deeper ones by directory.
void AddHostDevices(const std::string& directory, int depth, std::vector<spec::Device>* devices) {
  const DirectoryStream entries(opendir(directory.c_str()));
  if (entries == nullptr) return;
  while (const dirent* entry = readdir(entries.get())) {
    const std::string name = entry->d_name;
    if (name == "." || name == ".." || (depth == 0 && IsContainersOwn(name))) continue;
    const std::string path = directory + "/" + name;
    if (entry->d_type == DT_DIR && depth < 3) AddHostDevices(path, depth + 1, devices);
    if (entry->d_type != DT_CHR && entry->d_type != DT_BLK) continue;
    auto device = HostDevice(path, path);
    if (device.ok()) devices->push_back(*std::move(device));  // gone meanwhile: nobody's fault
  }
}

Status AddDevices(const SpecInput& input, spec::Spec* spec) {
  std::vector<spec::DeviceRule>& rules = spec->linux_.resources->devices;
  if (IsPrivileged(input)) {
    std::vector<spec::Device> devices;
    AddHostDevices("/dev", 0, &devices);
    for (const spec::Device& device : devices) AddDevice(input, device.path, device, spec);
    rules = {{true, "a", {}, {}, "rwm"}};
  } else {
    rules = DefaultRules();
  }
  for (const auto& wanted : input.container->devices()) {
    ASSIGN_OR_RETURN(const spec::Device device,
                     HostDevice(wanted.host_path(), wanted.container_path()));
    for (const char c : wanted.permissions())
      if (c != 'r' && c != 'w' && c != 'm')
        return absl::InvalidArgumentError(absl::StrCat("device \"", wanted.host_path(),
                                                       "\": permissions \"", wanted.permissions(),
                                                       "\" are not of r, w, m"));
    AddDevice(input, wanted.host_path(), device, spec);
    if (!IsPrivileged(input)) rules.push_back(RuleFor(device, wanted.permissions()));
  }
  return absl::OkStatus();
}

}  // namespace

Status CheckResources(const v1::LinuxContainerResources& resources) {
  const struct {
    const char* field;
    int64_t value;
    int64_t lowest;
  } limits[] = {{"cpu_shares", resources.cpu_shares(), 0},
                {"cpu_period", resources.cpu_period(), 0},
                {"cpu_quota", resources.cpu_quota(), -1},
                {"memory_limit_in_bytes", resources.memory_limit_in_bytes(), -1},
                {"memory_swap_limit_in_bytes", resources.memory_swap_limit_in_bytes(), -1}};
  for (const auto& limit : limits)
    if (limit.value < limit.lowest)
      return absl::InvalidArgumentError(
          absl::StrCat("resources.", limit.field, " is negative: ", limit.value));
  return absl::OkStatus();
}

spec::Resources ResourcesOf(const v1::LinuxContainerResources& from) {
  spec::Resources resources;
  spec::CpuLimits cpu;
  if (from.cpu_shares() != 0) cpu.shares = static_cast<uint64_t>(from.cpu_shares());
  if (from.cpu_period() != 0) cpu.period = static_cast<uint64_t>(from.cpu_period());
  if (from.cpu_quota() != 0) cpu.quota = from.cpu_quota();
  cpu.cpus = from.cpuset_cpus();
  cpu.mems = from.cpuset_mems();
  resources.cpu = cpu;
  spec::MemoryLimits memory;
  if (from.memory_limit_in_bytes() != 0) memory.limit = from.memory_limit_in_bytes();
  if (from.memory_swap_limit_in_bytes() != 0) memory.swap = from.memory_swap_limit_in_bytes();
  resources.memory = memory;
  for (const auto& limit : from.hugepage_limits())
    resources.hugepage_limits.push_back({limit.page_size(), limit.limit()});
  resources.unified.insert(from.unified().begin(), from.unified().end());
  return resources;
}

Status AddResources(const SpecInput& input, spec::Spec* spec) {
  RETURN_IF_ERROR(CheckResources(input.container->linux().resources()));
  spec->linux_.resources = ResourcesOf(input.container->linux().resources());
  return AddDevices(input, spec);
}

}  // namespace gantry::cri
