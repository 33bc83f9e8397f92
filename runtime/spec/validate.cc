#include "runtime/spec/validate.h"

#include <algorithm>
#include <array>
#include <set>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace gantry::spec {
namespace {

// uid_t and gid_t -1 mean "leave as it is" in most system calls (user_namespaces(7), chown(2)).
constexpr uint32_t kNoId = 0xFFFFFFFF;

Status Invalid(absl::string_view path, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", problem));
}

std::string At(absl::string_view list, size_t index, absl::string_view member = "") {
  return absl::StrCat(list, "[", index, "]", member.empty() ? "" : ".", member);
}

// A C string ends at the first NUL: what we checked would not be what the kernel sees.
Status NoNul(absl::string_view path, absl::string_view value) {
  if (value.find('\0') != absl::string_view::npos) return Invalid(path, "contains a NUL byte");
  return absl::OkStatus();
}

Status AbsolutePath(absl::string_view path, absl::string_view value) {
  RETURN_IF_ERROR(NoNul(path, value));
  if (!absl::StartsWith(value, "/"))
    return Invalid(path, absl::StrCat("\"", value, "\" is not an absolute path"));
  return absl::OkStatus();
}

template <typename List, typename Value>
bool Contains(const List& list, const Value& value) {
  return std::find(std::begin(list), std::end(list), value) != std::end(list);
}

Status OneOf(absl::string_view path, absl::string_view value,
             std::initializer_list<absl::string_view> known) {
  if (Contains(known, value)) return absl::OkStatus();
  return Invalid(path, absl::StrCat("\"", value, "\" is not known"));
}

Status CheckVersion(absl::string_view version) {
  const std::vector<std::string> parts = absl::StrSplit(version, absl::MaxSplits('.', 2));
  int major = 0;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &major))
    return Invalid("ociVersion", absl::StrCat("\"", version, "\" is not a version"));
  if (major != 1) return Invalid("ociVersion", absl::StrCat(version, " is not supported (1.x is)"));
  return absl::OkStatus();
}

Status CheckUser(const User& user) {
  if (user.uid == kNoId) return Invalid("process.user.uid", "4294967295 is not a user");
  if (user.gid == kNoId) return Invalid("process.user.gid", "4294967295 is not a group");
  if (Contains(user.additional_gids, kNoId))
    return Invalid("process.user.additionalGids", "4294967295 is not a group");
  if (user.umask.value_or(0) > 0777) return Invalid("process.user.umask", "is over 0777");
  return absl::OkStatus();
}

Status CheckRlimits(const std::vector<Rlimit>& limits) {
  std::set<std::string> seen;
  for (size_t i = 0; i < limits.size(); ++i) {
    const Rlimit& limit = limits[i];
    const std::string path = At("process.rlimits", i);
    if (!absl::StartsWith(limit.type, "RLIMIT_"))
      return Invalid(path, absl::StrCat("\"", limit.type, "\" is not a resource limit"));
    if (!seen.insert(limit.type).second)
      return Invalid(path, absl::StrCat(limit.type, " occurs twice"));
    if (limit.soft > limit.hard)
      return Invalid(path, absl::StrCat(limit.type, ": soft limit ", limit.soft,
                                        " is over the hard limit ", limit.hard));
  }
  return absl::OkStatus();
}

Status CheckCapabilities(const Capabilities& capabilities) {
  for (const auto* set :
       {&capabilities.bounding, &capabilities.effective, &capabilities.inheritable,
        &capabilities.permitted, &capabilities.ambient}) {
    for (const std::string& name : *set) {
      if (!absl::StartsWith(name, "CAP_"))
        return Invalid("process.capabilities", absl::StrCat("\"", name, "\" is not a capability"));
    }
  }
  return absl::OkStatus();
}

Status CheckIdMappings(absl::string_view path, const std::vector<IdMapping>& mappings) {
  for (size_t i = 0; i < mappings.size(); ++i) {
    const IdMapping& mapping = mappings[i];
    const uint64_t container_end = uint64_t{mapping.container_id} + mapping.size;
    const uint64_t host_end = uint64_t{mapping.host_id} + mapping.size;
    if (mapping.size == 0) return Invalid(At(path, i), "size is 0");
    if (std::max(container_end, host_end) > kNoId)
      return Invalid(At(path, i), "ends past 4294967294");
  }
  return absl::OkStatus();
}

Status CheckMounts(const std::vector<Mount>& mounts) {
  for (size_t i = 0; i < mounts.size(); ++i) {
    const Mount& mount = mounts[i];
    RETURN_IF_ERROR(AbsolutePath(At("mounts", i, "destination"), mount.destination));
    RETURN_IF_ERROR(NoNul(At("mounts", i, "source"), mount.source));
    for (const std::string& option : mount.options)
      RETURN_IF_ERROR(NoNul(At("mounts", i, "options"), option));
    const bool bind =
        mount.type == "bind" || Contains(mount.options, "bind") || Contains(mount.options, "rbind");
    if (bind && mount.source.empty())
      return Invalid(At("mounts", i), "a bind mount without a source");
    if (!bind && mount.type.empty()) return Invalid(At("mounts", i), "has no type");
    if (mount.uid_mappings.empty() != mount.gid_mappings.empty())
      return Invalid(At("mounts", i), "uidMappings and gidMappings go together");
    RETURN_IF_ERROR(CheckIdMappings(At("mounts", i, "uidMappings"), mount.uid_mappings));
    RETURN_IF_ERROR(CheckIdMappings(At("mounts", i, "gidMappings"), mount.gid_mappings));
  }
  return absl::OkStatus();
}

const Namespace* FindNamespace(const Linux& section, absl::string_view type) {
  for (const Namespace& space : section.namespaces) {
    if (space.type == type) return &space;
  }
  return nullptr;
}

Status CheckNamespaces(const Linux& section) {
  std::set<std::string> seen;
  for (size_t i = 0; i < section.namespaces.size(); ++i) {
    const Namespace& space = section.namespaces[i];
    const std::string path = At("linux.namespaces", i);
    RETURN_IF_ERROR(OneOf(path, space.type,
                          {"pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"}));
    if (!seen.insert(space.type).second)
      return Invalid(path, absl::StrCat("\"", space.type, "\" occurs twice"));
    if (!space.path.empty()) RETURN_IF_ERROR(AbsolutePath(path, space.path));
  }
  return absl::OkStatus();
}

Status CheckUserNamespace(const Linux& section) {
  const Namespace* user = FindNamespace(section, "user");
  const bool mapped = !section.uid_mappings.empty() || !section.gid_mappings.empty();
  if (user == nullptr && mapped)
    return Invalid("linux.uidMappings", "given without a user namespace");
  if (user != nullptr && user->path.empty() &&
      (section.uid_mappings.empty() || section.gid_mappings.empty()))
    return Invalid("linux.uidMappings", "a new user namespace needs uidMappings and gidMappings");
  RETURN_IF_ERROR(CheckIdMappings("linux.uidMappings", section.uid_mappings));
  return CheckIdMappings("linux.gidMappings", section.gid_mappings);
}

Status CheckSysctls(const Linux& section) {
  for (const auto& [name, value] : section.sysctl) {
    const std::string path = absl::StrCat("linux.sysctl.", name);
    ASSIGN_OR_RETURN_CONTEXT(const std::string type, SysctlNamespace(name), path);
    if (FindNamespace(section, type) == nullptr)
      return Invalid(path, absl::StrCat("needs a namespace of type ", type, " of the container"));
    if (value.find_first_of("\n\0", 0, 2) != std::string::npos)
      return Invalid(path, "the value contains a newline or NUL byte");
  }
  return absl::OkStatus();
}

Status CheckDevices(const std::vector<Device>& devices) {
  for (size_t i = 0; i < devices.size(); ++i) {
    const Device& device = devices[i];
    RETURN_IF_ERROR(AbsolutePath(At("linux.devices", i, "path"), device.path));
    RETURN_IF_ERROR(OneOf(At("linux.devices", i, "type"), device.type, {"c", "b", "u", "p"}));
    if (device.major < 0 || device.minor < 0)
      return Invalid(At("linux.devices", i), "a device number is negative");
  }
  return absl::OkStatus();
}

Status CheckHooks(absl::string_view path, const std::vector<Hook>& hooks) {
  for (size_t i = 0; i < hooks.size(); ++i) {
    RETURN_IF_ERROR(AbsolutePath(At(path, i, "path"), hooks[i].path));
    if (hooks[i].timeout.value_or(1) <= 0) return Invalid(At(path, i, "timeout"), "must be over 0");
  }
  return absl::OkStatus();
}

Status CheckAllHooks(const Hooks& hooks) {
  RETURN_IF_ERROR(CheckHooks("hooks.prestart", hooks.prestart));
  RETURN_IF_ERROR(CheckHooks("hooks.createRuntime", hooks.create_runtime));
  RETURN_IF_ERROR(CheckHooks("hooks.createContainer", hooks.create_container));
  RETURN_IF_ERROR(CheckHooks("hooks.startContainer", hooks.start_container));
  RETURN_IF_ERROR(CheckHooks("hooks.poststart", hooks.poststart));
  return CheckHooks("hooks.poststop", hooks.poststop);
}

Status CheckCgroupsPath(absl::string_view path) {
  RETURN_IF_ERROR(NoNul("linux.cgroupsPath", path));
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    if (part == "..") return Invalid("linux.cgroupsPath", "contains \"..\"");
  }
  return absl::OkStatus();
}

Status CheckLinux(const Linux& section) {
  RETURN_IF_ERROR(CheckNamespaces(section));
  RETURN_IF_ERROR(CheckUserNamespace(section));
  RETURN_IF_ERROR(CheckSysctls(section));
  RETURN_IF_ERROR(CheckDevices(section.devices));
  RETURN_IF_ERROR(CheckCgroupsPath(section.cgroups_path));
  if (!section.rootfs_propagation.empty()) {
    RETURN_IF_ERROR(OneOf("linux.rootfsPropagation", section.rootfs_propagation,
                          {"private", "rprivate", "slave", "rslave", "shared", "rshared",
                           "unbindable", "runbindable"}));
  }
  for (const std::string& path : section.masked_paths)
    RETURN_IF_ERROR(AbsolutePath("linux.maskedPaths", path));
  for (const std::string& path : section.readonly_paths)
    RETURN_IF_ERROR(AbsolutePath("linux.readonlyPaths", path));
  if (FindNamespace(section, "mount") == nullptr &&
      !(section.masked_paths.empty() && section.readonly_paths.empty()))
    return Invalid("linux.maskedPaths", "paths cannot be masked without a mount namespace");
  if (section.resources.has_value())
    RETURN_IF_ERROR_CONTEXT(ValidateResources(*section.resources), "linux.resources");
  return absl::OkStatus();
}

Status CheckMemory(const MemoryLimits& memory) {
  for (const auto& value : {memory.limit, memory.reservation, memory.swap}) {
    if (value.value_or(0) < -1)
      return Invalid("memory", absl::StrCat(*value, " is negative (-1 is unlimited)"));
  }
  const int64_t limit = memory.limit.value_or(0);
  const int64_t swap = memory.swap.value_or(0);
  if (swap > 0 && limit <= 0) return Invalid("memory.swap", "needs a memory limit");
  if (swap > 0 && swap < limit)
    return Invalid("memory.swap", absl::StrCat("memory and swap together (", swap,
                                               ") are below the memory limit (", limit, ")"));
  return absl::OkStatus();
}

// "2MB", "1GB", "64KB": the names of the hugetlb files.
bool IsPageSize(absl::string_view size) {
  const size_t digits = std::min<size_t>(size.find_first_not_of("0123456789"), size.size());
  const absl::string_view unit = size.substr(digits);
  return digits > 0 && size[0] != '0' && (unit == "KB" || unit == "MB" || unit == "GB");
}

// These move processes or shape the hierarchy; they are no limits.
bool IsCgroupCoreFile(absl::string_view name) { return absl::StartsWith(name, "cgroup."); }

Status CheckUnified(const std::map<std::string, std::string>& unified) {
  for (const auto& [name, value] : unified) {
    const std::string path = absl::StrCat("unified.", name);
    const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
      return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
    });
    if (!plain || name.find('.') == std::string::npos || absl::StartsWith(name, "."))
      return Invalid(path, "is not the name of a cgroup file");
    if (IsCgroupCoreFile(name)) return Invalid(path, "is not a limit");
    RETURN_IF_ERROR(NoNul(path, value));
  }
  return absl::OkStatus();
}

Status CheckDeviceRules(const std::vector<DeviceRule>& rules) {
  for (size_t i = 0; i < rules.size(); ++i) {
    const DeviceRule& rule = rules[i];
    if (!rule.type.empty())
      RETURN_IF_ERROR(OneOf(At("devices", i, "type"), rule.type, {"a", "b", "c"}));
    if (rule.access.find_first_not_of("rwm") != std::string::npos)
      return Invalid(At("devices", i, "access"),
                     absl::StrCat("\"", rule.access, "\" is not of r, w, m"));
    if (rule.major.value_or(0) < 0 || rule.minor.value_or(0) < 0 ||
        rule.major.value_or(0) > UINT32_MAX || rule.minor.value_or(0) > UINT32_MAX)
      return Invalid(At("devices", i), "a device number is out of range");
  }
  return absl::OkStatus();
}

}  // namespace

Status ValidateResources(const Resources& resources) {
  RETURN_IF_ERROR(CheckDeviceRules(resources.devices));
  if (resources.memory.has_value()) RETURN_IF_ERROR(CheckMemory(*resources.memory));
  if (resources.cpu.has_value()) {
    for (const auto* list : {&resources.cpu->cpus, &resources.cpu->mems}) {
      if (list->find_first_not_of("0123456789,-") != std::string::npos)
        return Invalid("cpu", absl::StrCat("\"", *list, "\" is not a list of numbers"));
    }
  }
  if (resources.block_io.has_value()) {
    const uint32_t weight = resources.block_io->weight.value_or(0);
    if (weight != 0 && (weight < 10 || weight > 1000))
      return Invalid("blockIO.weight", absl::StrCat(weight, " is not between 10 and 1000"));
  }
  for (size_t i = 0; i < resources.hugepage_limits.size(); ++i) {
    const std::string& size = resources.hugepage_limits[i].page_size;
    if (!IsPageSize(size))
      return Invalid(At("hugepageLimits", i, "pageSize"),
                     absl::StrCat("\"", size, "\" is not a page size such as 2MB"));
  }
  return CheckUnified(resources.unified);
}

Status ValidateProcess(const Process& process) {
  if (process.args.empty()) return Invalid("process.args", "is empty");
  for (size_t i = 0; i < process.args.size(); ++i)
    RETURN_IF_ERROR(NoNul(At("process.args", i), process.args[i]));
  for (size_t i = 0; i < process.env.size(); ++i)
    RETURN_IF_ERROR(NoNul(At("process.env", i), process.env[i]));
  RETURN_IF_ERROR(AbsolutePath("process.cwd", process.cwd));
  RETURN_IF_ERROR(CheckUser(process.user));
  RETURN_IF_ERROR(CheckRlimits(process.rlimits));
  if (process.capabilities.has_value()) RETURN_IF_ERROR(CheckCapabilities(*process.capabilities));
  const int score = process.oom_score_adj.value_or(0);
  if (score < -1000 || score > 1000)
    return Invalid("process.oomScoreAdj", absl::StrCat(score, " is not between -1000 and 1000"));
  return absl::OkStatus();
}

Status Validate(const Spec& spec) {
  RETURN_IF_ERROR(CheckVersion(spec.version));
  if (spec.root.path.empty()) return Invalid("root.path", "is empty");
  RETURN_IF_ERROR(NoNul("root.path", spec.root.path));
  if (spec.process.has_value()) RETURN_IF_ERROR(ValidateProcess(*spec.process));
  RETURN_IF_ERROR(CheckMounts(spec.mounts));
  RETURN_IF_ERROR(CheckLinux(spec.linux_));
  const bool named = !spec.hostname.empty() || !spec.domainname.empty();
  if (named && FindNamespace(spec.linux_, "uts") == nullptr)
    return Invalid("hostname", "would rename the host: the container has no UTS namespace");
  RETURN_IF_ERROR(NoNul("hostname", spec.hostname));
  RETURN_IF_ERROR(NoNul("domainname", spec.domainname));
  return CheckAllHooks(spec.hooks);
}

StatusOr<std::string> SysctlNamespace(absl::string_view name) {
  // sysctl(8): with a slash before the first dot, slashes separate and dots belong to names.
  const size_t separator = name.find_first_of("./");
  std::string dotted(name);
  if (separator != absl::string_view::npos && name[separator] == '/')
    dotted = absl::StrReplaceAll(name, {{"/", "."}, {".", "/"}});
  for (const absl::string_view part : absl::StrSplit(dotted, '.')) {
    const bool plain = std::all_of(part.begin(), part.end(), [](char c) {
      return absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains("-_/@:", c);
    });
    if (part.empty() || part == "/" || absl::StrContains(part, "//") || !plain)
      return absl::InvalidArgumentError("is not the name of a sysctl");
  }
  // ipc_namespaces(7).
  static constexpr std::array<absl::string_view, 8> kIpc = {
      "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
      "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"};
  static constexpr std::array<absl::string_view, 3> kIpcIds = {
      "kernel.msg_next_id", "kernel.sem_next_id", "kernel.shm_next_id"};
  if (Contains(kIpc, dotted) || Contains(kIpcIds, dotted) || absl::StartsWith(dotted, "fs.mqueue."))
    return std::string("ipc");
  if (absl::StartsWith(dotted, "net.")) return std::string("network");
  if (dotted == "kernel.domainname") return std::string("uts");
  return absl::InvalidArgumentError("is not isolated by a namespace: it would change the host");
}

}  // namespace gantry::spec
