// Writing; json.cc reads. Unset optionals, empty strings and empty lists are left out.
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#define JSON_NO_IO
#include "nlohmann/json.hpp"

#include "runtime/base/json.h"
#include "runtime/spec/json.h"

namespace gantry::spec {
namespace {

using nlohmann::json;

// Declared here for the templates below.
json Write(const Rlimit& limit);
json Write(const IdMapping& mapping);
json Write(const Mount& mount);
json Write(const Hook& hook);
json Write(const Namespace& space);
json Write(const Device& device);
json Write(const DeviceRule& rule);
json Write(const BlockDeviceRate& rate);
json Write(const HugepageLimit& limit);
json Write(const SeccompArg& arg);
json Write(const SeccompRule& rule);

void Put(json& out, const char* key, const std::string& value) {
  if (!value.empty()) out[key] = value;
}
template <typename T>
void Put(json& out, const char* key, const std::optional<T>& value) {
  if (value.has_value()) out[key] = *value;
}
template <typename Container>
void PutAll(json& out, const char* key, const Container& values) {
  if (!values.empty()) out[key] = values;
}
void PutTrue(json& out, const char* key, bool value) {
  if (value) out[key] = true;
}
void PutObject(json& out, const char* key, json value) {
  if (!value.empty()) out[key] = std::move(value);
}
template <typename T>
void PutList(json& out, const char* key, const std::vector<T>& values) {
  if (values.empty()) return;
  json list = json::array();
  for (const T& value : values) list.push_back(Write(value));
  out[key] = std::move(list);
}

json Write(const User& user) {
  json out = {{"uid", user.uid}, {"gid", user.gid}};
  Put(out, "umask", user.umask);
  PutAll(out, "additionalGids", user.additional_gids);
  return out;
}

json Write(const Capabilities& capabilities) {
  json out = json::object();
  PutAll(out, "bounding", capabilities.bounding);
  PutAll(out, "effective", capabilities.effective);
  PutAll(out, "inheritable", capabilities.inheritable);
  PutAll(out, "permitted", capabilities.permitted);
  PutAll(out, "ambient", capabilities.ambient);
  return out;
}

json Write(const Rlimit& limit) {
  return {{"type", limit.type}, {"soft", limit.soft}, {"hard", limit.hard}};
}

json Write(const Process& process) {
  json out = {{"user", Write(process.user)}, {"cwd", process.cwd}};
  PutTrue(out, "terminal", process.terminal);
  if (process.console_size.has_value()) {
    out["consoleSize"] = {{"height", process.console_size->height},
                          {"width", process.console_size->width}};
  }
  PutAll(out, "args", process.args);
  PutAll(out, "env", process.env);
  // Present even when empty: "no capabilities" differs from "not said".
  if (process.capabilities.has_value()) out["capabilities"] = Write(*process.capabilities);
  PutList(out, "rlimits", process.rlimits);
  PutTrue(out, "noNewPrivileges", process.no_new_privileges);
  Put(out, "apparmorProfile", process.apparmor_profile);
  Put(out, "selinuxLabel", process.selinux_label);
  Put(out, "oomScoreAdj", process.oom_score_adj);
  return out;
}

json Write(const IdMapping& mapping) {
  return {
      {"containerID", mapping.container_id}, {"hostID", mapping.host_id}, {"size", mapping.size}};
}

json Write(const Mount& mount) {
  json out = {{"destination", mount.destination}};
  Put(out, "type", mount.type);
  Put(out, "source", mount.source);
  PutAll(out, "options", mount.options);
  PutList(out, "uidMappings", mount.uid_mappings);
  PutList(out, "gidMappings", mount.gid_mappings);
  return out;
}

json Write(const Hook& hook) {
  json out = {{"path", hook.path}};
  PutAll(out, "args", hook.args);
  PutAll(out, "env", hook.env);
  Put(out, "timeout", hook.timeout);
  return out;
}

json Write(const Hooks& hooks) {
  json out = json::object();
  PutList(out, "prestart", hooks.prestart);
  PutList(out, "createRuntime", hooks.create_runtime);
  PutList(out, "createContainer", hooks.create_container);
  PutList(out, "startContainer", hooks.start_container);
  PutList(out, "poststart", hooks.poststart);
  PutList(out, "poststop", hooks.poststop);
  return out;
}

json Write(const Namespace& space) {
  json out = {{"type", space.type}};
  Put(out, "path", space.path);
  return out;
}

json Write(const Device& device) {
  json out = {{"path", device.path},
              {"type", device.type},
              {"major", device.major},
              {"minor", device.minor}};
  Put(out, "fileMode", device.file_mode);
  Put(out, "uid", device.uid);
  Put(out, "gid", device.gid);
  return out;
}

json Write(const DeviceRule& rule) {
  json out = {{"allow", rule.allow}};
  Put(out, "type", rule.type);
  Put(out, "major", rule.major);
  Put(out, "minor", rule.minor);
  Put(out, "access", rule.access);
  return out;
}

json Write(const MemoryLimits& memory) {
  json out = json::object();
  Put(out, "limit", memory.limit);
  Put(out, "reservation", memory.reservation);
  Put(out, "swap", memory.swap);
  Put(out, "disableOOMKiller", memory.disable_oom_killer);
  return out;
}

json Write(const CpuLimits& cpu) {
  json out = json::object();
  Put(out, "shares", cpu.shares);
  Put(out, "period", cpu.period);
  Put(out, "quota", cpu.quota);
  Put(out, "burst", cpu.burst);
  Put(out, "idle", cpu.idle);
  Put(out, "cpus", cpu.cpus);
  Put(out, "mems", cpu.mems);
  return out;
}

json Write(const BlockDeviceRate& rate) {
  return {{"major", rate.major}, {"minor", rate.minor}, {"rate", rate.rate}};
}

json Write(const BlockIoLimits& io) {
  json out = json::object();
  Put(out, "weight", io.weight);
  PutList(out, "throttleReadBpsDevice", io.read_bps);
  PutList(out, "throttleWriteBpsDevice", io.write_bps);
  PutList(out, "throttleReadIOPSDevice", io.read_iops);
  PutList(out, "throttleWriteIOPSDevice", io.write_iops);
  return out;
}

json Write(const HugepageLimit& limit) {
  return {{"pageSize", limit.page_size}, {"limit", limit.limit}};
}

json Write(const Resources& resources) {
  json out = json::object();
  PutList(out, "devices", resources.devices);
  if (resources.memory.has_value()) out["memory"] = Write(*resources.memory);
  if (resources.cpu.has_value()) out["cpu"] = Write(*resources.cpu);
  if (resources.block_io.has_value()) out["blockIO"] = Write(*resources.block_io);
  if (resources.pids_limit.has_value()) out["pids"] = {{"limit", *resources.pids_limit}};
  PutList(out, "hugepageLimits", resources.hugepage_limits);
  PutAll(out, "unified", resources.unified);
  return out;
}

json Write(const SeccompArg& arg) {
  return {{"index", arg.index}, {"value", arg.value}, {"valueTwo", arg.value_two}, {"op", arg.op}};
}

json Write(const SeccompRule& rule) {
  json out = {{"names", rule.names}, {"action", rule.action}};
  Put(out, "errnoRet", rule.errno_ret);
  PutList(out, "args", rule.args);
  return out;
}

json Write(const Seccomp& seccomp) {
  json out = {{"defaultAction", seccomp.default_action}};
  Put(out, "defaultErrnoRet", seccomp.default_errno_ret);
  PutAll(out, "architectures", seccomp.architectures);
  PutAll(out, "flags", seccomp.flags);
  PutList(out, "syscalls", seccomp.syscalls);
  return out;
}

json Write(const Linux& section) {
  json out = json::object();
  PutList(out, "namespaces", section.namespaces);
  PutList(out, "uidMappings", section.uid_mappings);
  PutList(out, "gidMappings", section.gid_mappings);
  PutList(out, "devices", section.devices);
  Put(out, "cgroupsPath", section.cgroups_path);
  if (section.resources.has_value()) out["resources"] = Write(*section.resources);
  Put(out, "rootfsPropagation", section.rootfs_propagation);
  if (section.seccomp.has_value()) out["seccomp"] = Write(*section.seccomp);
  PutAll(out, "sysctl", section.sysctl);
  PutAll(out, "maskedPaths", section.masked_paths);
  PutAll(out, "readonlyPaths", section.readonly_paths);
  Put(out, "mountLabel", section.mount_label);
  return out;
}

json Write(const Spec& spec) {
  json out = {{"ociVersion", spec.version}};
  if (spec.process.has_value()) out["process"] = Write(*spec.process);
  // The path is empty where the root file system comes as a descriptor; it may be read-only all the
  // same.
  if (!spec.root.path.empty() || spec.root.readonly) {
    out["root"] = {{"path", spec.root.path}};
    PutTrue(out["root"], "readonly", spec.root.readonly);
  }
  Put(out, "hostname", spec.hostname);
  Put(out, "domainname", spec.domainname);
  PutList(out, "mounts", spec.mounts);
  PutObject(out, "hooks", Write(spec.hooks));
  PutAll(out, "annotations", spec.annotations);
  PutObject(out, "linux", Write(spec.linux_));
  return out;
}

}  // namespace

std::string ToJson(const Spec& spec) { return DumpJson(Write(spec)); }
std::string ToJson(const Process& process) { return DumpJson(Write(process)); }
std::string ToJson(const Seccomp& seccomp) { return DumpJson(Write(seccomp)); }
std::string ToJson(const Resources& resources) { return DumpJson(Write(resources)); }

}  // namespace gantry::spec
