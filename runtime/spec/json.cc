// Reading; json_write.cc writes.
#include "runtime/spec/json.h"

#include <initializer_list>
#include <utility>

#define JSON_NO_IO
#include "nlohmann/json.hpp"

#include "runtime/base/json.h"

namespace gantry::spec {
namespace {

void RefuseUnsupported(const JsonReader& in, std::initializer_list<absl::string_view> keys) {
  for (const absl::string_view key : keys) {
    if (in.Has(key)) in.Fail(key, "not supported by this runtime");
  }
}

void ReadUser(const JsonReader& in, User& out) {
  in.Read("uid", out.uid);
  in.Read("gid", out.gid);
  in.Read("umask", out.umask);
  in.Read("additionalGids", out.additional_gids);
}

void ReadCapabilities(const JsonReader& in, Capabilities& out) {
  in.Read("bounding", out.bounding);
  in.Read("effective", out.effective);
  in.Read("inheritable", out.inheritable);
  in.Read("permitted", out.permitted);
  in.Read("ambient", out.ambient);
}

void ReadProcess(const JsonReader& in, Process& out) {
  in.Read("terminal", out.terminal);
  in.Object("consoleSize", [&](const JsonReader& size) {
    out.console_size.emplace();
    size.Read("height", out.console_size->height);
    size.Read("width", out.console_size->width);
  });
  in.Object("user", [&](const JsonReader& user) { ReadUser(user, out.user); });
  in.Read("args", out.args);
  in.Read("env", out.env);
  in.Read("cwd", out.cwd);
  in.Object("capabilities", [&](const JsonReader& capabilities) {
    ReadCapabilities(capabilities, out.capabilities.emplace());
  });
  in.ForEach("rlimits", [&](const JsonReader& limit) {
    Rlimit& rlimit = out.rlimits.emplace_back();
    limit.Read("type", rlimit.type);
    limit.Read("soft", rlimit.soft);
    limit.Read("hard", rlimit.hard);
  });
  in.Read("noNewPrivileges", out.no_new_privileges);
  in.Read("apparmorProfile", out.apparmor_profile);
  in.Read("selinuxLabel", out.selinux_label);
  in.Read("oomScoreAdj", out.oom_score_adj);
  RefuseUnsupported(in, {"scheduler", "ioPriority", "execCPUAffinity"});
}

void ReadIdMappings(const JsonReader& in, absl::string_view key, std::vector<IdMapping>& out) {
  in.ForEach(key, [&](const JsonReader& member) {
    IdMapping& mapping = out.emplace_back();
    member.Read("containerID", mapping.container_id);
    member.Read("hostID", mapping.host_id);
    member.Read("size", mapping.size);
  });
}

void ReadMount(const JsonReader& in, Mount& out) {
  in.Read("destination", out.destination);
  in.Read("type", out.type);
  in.Read("source", out.source);
  in.Read("options", out.options);
  ReadIdMappings(in, "uidMappings", out.uid_mappings);
  ReadIdMappings(in, "gidMappings", out.gid_mappings);
}

void ReadHookList(const JsonReader& in, absl::string_view key, std::vector<Hook>& out) {
  in.ForEach(key, [&](const JsonReader& member) {
    Hook& hook = out.emplace_back();
    member.Read("path", hook.path);
    member.Read("args", hook.args);
    member.Read("env", hook.env);
    member.Read("timeout", hook.timeout);
  });
}

void ReadHooks(const JsonReader& in, Hooks& out) {
  ReadHookList(in, "prestart", out.prestart);
  ReadHookList(in, "createRuntime", out.create_runtime);
  ReadHookList(in, "createContainer", out.create_container);
  ReadHookList(in, "startContainer", out.start_container);
  ReadHookList(in, "poststart", out.poststart);
  ReadHookList(in, "poststop", out.poststop);
}

void ReadDevice(const JsonReader& in, Device& out) {
  in.Read("path", out.path);
  in.Read("type", out.type);
  in.Read("major", out.major);
  in.Read("minor", out.minor);
  in.Read("fileMode", out.file_mode);
  in.Read("uid", out.uid);
  in.Read("gid", out.gid);
}

void ReadDeviceRule(const JsonReader& in, DeviceRule& out) {
  in.Read("allow", out.allow);
  in.Read("type", out.type);
  in.Read("major", out.major);
  in.Read("minor", out.minor);
  in.Read("access", out.access);
  // -1 is a common way to write "all".
  if (out.major == -1) out.major.reset();
  if (out.minor == -1) out.minor.reset();
}

void ReadMemory(const JsonReader& in, MemoryLimits& out) {
  in.Read("limit", out.limit);
  in.Read("reservation", out.reservation);
  in.Read("swap", out.swap);
  in.Read("disableOOMKiller", out.disable_oom_killer);
  RefuseUnsupported(in, {"swappiness"});
}

void ReadCpu(const JsonReader& in, CpuLimits& out) {
  in.Read("shares", out.shares);
  in.Read("period", out.period);
  in.Read("quota", out.quota);
  in.Read("burst", out.burst);
  in.Read("idle", out.idle);
  in.Read("cpus", out.cpus);
  in.Read("mems", out.mems);
  RefuseUnsupported(in, {"realtimeRuntime", "realtimePeriod"});
}

void ReadRates(const JsonReader& in, absl::string_view key, std::vector<BlockDeviceRate>& out) {
  in.ForEach(key, [&](const JsonReader& member) {
    BlockDeviceRate& rate = out.emplace_back();
    member.Read("major", rate.major);
    member.Read("minor", rate.minor);
    member.Read("rate", rate.rate);
  });
}

void ReadBlockIo(const JsonReader& in, BlockIoLimits& out) {
  in.Read("weight", out.weight);
  ReadRates(in, "throttleReadBpsDevice", out.read_bps);
  ReadRates(in, "throttleWriteBpsDevice", out.write_bps);
  ReadRates(in, "throttleReadIOPSDevice", out.read_iops);
  ReadRates(in, "throttleWriteIOPSDevice", out.write_iops);
}

void ReadResources(const JsonReader& in, Resources& out) {
  in.ForEach("devices",
             [&](const JsonReader& rule) { ReadDeviceRule(rule, out.devices.emplace_back()); });
  in.Object("memory", [&](const JsonReader& memory) { ReadMemory(memory, out.memory.emplace()); });
  in.Object("cpu", [&](const JsonReader& cpu) { ReadCpu(cpu, out.cpu.emplace()); });
  in.Object("blockIO", [&](const JsonReader& io) { ReadBlockIo(io, out.block_io.emplace()); });
  in.Object("pids", [&](const JsonReader& pids) { pids.Read("limit", out.pids_limit); });
  in.ForEach("hugepageLimits", [&](const JsonReader& member) {
    HugepageLimit& limit = out.hugepage_limits.emplace_back();
    member.Read("pageSize", limit.page_size);
    member.Read("limit", limit.limit);
  });
  in.Read("unified", out.unified);
}

void ReadSeccompRule(const JsonReader& in, SeccompRule& out) {
  in.Read("names", out.names);
  in.Read("action", out.action);
  in.Read("errnoRet", out.errno_ret);
  in.ForEach("args", [&](const JsonReader& member) {
    SeccompArg& arg = out.args.emplace_back();
    member.Read("index", arg.index);
    member.Read("value", arg.value);
    member.Read("valueTwo", arg.value_two);
    member.Read("op", arg.op);
  });
}

void ReadSeccomp(const JsonReader& in, Seccomp& out) {
  in.Read("defaultAction", out.default_action);
  in.Read("defaultErrnoRet", out.default_errno_ret);
  in.Read("architectures", out.architectures);
  in.Read("flags", out.flags);
  in.ForEach("syscalls",
             [&](const JsonReader& rule) { ReadSeccompRule(rule, out.syscalls.emplace_back()); });
  RefuseUnsupported(in, {"listenerPath"});
}

void ReadLinux(const JsonReader& in, Linux& out) {
  in.ForEach("namespaces", [&](const JsonReader& member) {
    Namespace& space = out.namespaces.emplace_back();
    member.Read("type", space.type);
    member.Read("path", space.path);
  });
  ReadIdMappings(in, "uidMappings", out.uid_mappings);
  ReadIdMappings(in, "gidMappings", out.gid_mappings);
  in.ForEach("devices",
             [&](const JsonReader& device) { ReadDevice(device, out.devices.emplace_back()); });
  in.Read("cgroupsPath", out.cgroups_path);
  in.Object("resources",
            [&](const JsonReader& limits) { ReadResources(limits, out.resources.emplace()); });
  in.Read("rootfsPropagation", out.rootfs_propagation);
  in.Object("seccomp",
            [&](const JsonReader& seccomp) { ReadSeccomp(seccomp, out.seccomp.emplace()); });
  in.Read("sysctl", out.sysctl);
  in.Read("maskedPaths", out.masked_paths);
  in.Read("readonlyPaths", out.readonly_paths);
  in.Read("mountLabel", out.mount_label);
  RefuseUnsupported(in, {"intelRdt", "personality", "timeOffsets", "memoryPolicy", "netDevices"});
}

void ReadSpec(const JsonReader& in, Spec& out) {
  if (!in.Has("ociVersion")) in.Fail("ociVersion", "is missing");
  in.Read("ociVersion", out.version);
  in.Object("process",
            [&](const JsonReader& process) { ReadProcess(process, out.process.emplace()); });
  in.Object("root", [&](const JsonReader& root) {
    root.Read("path", out.root.path);
    root.Read("readonly", out.root.readonly);
  });
  in.Read("hostname", out.hostname);
  in.Read("domainname", out.domainname);
  in.ForEach("mounts",
             [&](const JsonReader& mount) { ReadMount(mount, out.mounts.emplace_back()); });
  in.Object("hooks", [&](const JsonReader& hooks) { ReadHooks(hooks, out.hooks); });
  in.Read("annotations", out.annotations);
  in.Object("linux", [&](const JsonReader& section) { ReadLinux(section, out.linux_); });
  RefuseUnsupported(in, {"windows", "solaris", "vm", "zos", "freebsd"});
}

template <typename T>
StatusOr<T> Parse(absl::string_view text, absl::string_view what,
                  void (*read)(const JsonReader&, T&)) {
  ASSIGN_OR_RETURN_CONTEXT(const nlohmann::json document, ParseJson(text), what);
  Status status;
  T value;
  read(JsonReader(document, status), value);
  RETURN_IF_ERROR_CONTEXT(status, what);
  return value;
}

}  // namespace

StatusOr<Spec> ParseSpec(absl::string_view json) {
  return Parse<Spec>(json, "config.json", ReadSpec);
}

StatusOr<Process> ParseProcess(absl::string_view json) {
  return Parse<Process>(json, "process", ReadProcess);
}

StatusOr<Resources> ParseResources(absl::string_view json) {
  return Parse<Resources>(json, "resources", ReadResources);
}

}  // namespace gantry::spec
