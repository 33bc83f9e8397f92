#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#define JSON_NO_IO
#include "nlohmann/json.hpp"

#include "runtime/base/json.h"
#include "runtime/linux/file.h"
#include "runtime/oci_arguments.h"
#include "runtime/oci_commands.h"
#include "runtime/oci_container.h"
#include "runtime/spec/json.h"

namespace gantry::runtime {
namespace {

using nlohmann::json;

Status Print(absl::string_view text) { return WriteAll(STDOUT_FILENO, text, "standard output"); }

struct KnownContainer {
  OciStateDir dir;
  OciRecord record;
};

StatusOr<KnownContainer> Find(const OciGlobals& globals, const Options& options) {
  if (options.positional.empty()) return absl::InvalidArgumentError("a container name is needed");
  ASSIGN_OR_RETURN(const OciStateDir dir, OciStateDir::At(globals.root, options.positional[0]));
  ASSIGN_OR_RETURN(OciRecord record, dir.Load());
  return KnownContainer{dir, std::move(record)};
}

spec::Mount Mounted(std::string destination, std::string type, std::vector<std::string> options) {
  return {.destination = std::move(destination),
          .type = type,
          .source = type,
          .options = std::move(options)};
}

// What `spec` writes: a shell in a container of its own, to be edited.
spec::Spec ExampleSpec() {
  spec::Spec spec;
  spec::Process& process = spec.process.emplace();
  process.terminal = true;
  process.args = {"sh"};
  process.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"};
  process.no_new_privileges = true;
  const std::vector<std::string> few = {"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"};
  process.capabilities = spec::Capabilities{.bounding = few, .effective = few, .permitted = few};
  process.rlimits = {{.type = "RLIMIT_NOFILE", .soft = 1024, .hard = 1024}};
  spec.root = {.path = "rootfs", .readonly = true};
  spec.hostname = "gantry";
  spec.mounts = {
      Mounted("/proc", "proc", {}),
      Mounted("/dev", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
      Mounted("/dev/pts", "devpts",
              {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}),
      Mounted("/dev/shm", "tmpfs", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}),
      Mounted("/dev/mqueue", "mqueue", {"nosuid", "noexec", "nodev"}),
      Mounted("/sys", "sysfs", {"nosuid", "noexec", "nodev", "ro"}),
      Mounted("/sys/fs/cgroup", "cgroup", {"nosuid", "noexec", "nodev", "relatime", "ro"}),
  };
  for (const char* type : {"pid", "network", "ipc", "uts", "mount", "cgroup"})
    spec.linux_.namespaces.push_back({.type = type});
  spec.linux_.resources.emplace().devices = {{.allow = false, .access = "rwm"}};
  spec.linux_.masked_paths = {"/proc/acpi",        "/proc/asound",        "/proc/kcore",
                              "/proc/keys",        "/proc/latency_stats", "/proc/timer_list",
                              "/proc/timer_stats", "/proc/sched_debug",   "/sys/firmware",
                              "/proc/scsi"};
  spec.linux_.readonly_paths = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                "/proc/sysrq-trigger"};
  return spec;
}

json Features() {
  const json actions = {"SCMP_ACT_ALLOW",        "SCMP_ACT_ERRNO",       "SCMP_ACT_KILL",
                        "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG",
                        "SCMP_ACT_TRACE",        "SCMP_ACT_TRAP"};
  const json operators = {"SCMP_CMP_EQ", "SCMP_CMP_GE",        "SCMP_CMP_GT", "SCMP_CMP_LE",
                          "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"};
  const json section = {
      {"namespaces", {"cgroup", "ipc", "mount", "network", "pid", "uts"}},
      {"cgroup", {{"v1", true}, {"v2", true}, {"systemd", false}, {"systemdUser", false}}},
      {"seccomp", {{"enabled", true}, {"actions", actions}, {"operators", operators}}},
      {"apparmor", {{"enabled", true}}},
      {"selinux", {{"enabled", true}}},
      {"intelRdt", {{"enabled", false}}},
  };
  return {{"ociVersionMin", "1.0.0"},
          {"ociVersionMax", "1.2.0"},
          {"hooks", {"prestart", "createRuntime", "poststart", "poststop"}},
          {"linux", section}};
}

}  // namespace

StatusOr<int> StateCommand(const OciGlobals& globals, OciArguments arguments) {
  ASSIGN_OR_RETURN(const Options options, ParseOptions({}, arguments));
  ASSIGN_OR_RETURN(const KnownContainer known, Find(globals, options));
  ASSIGN_OR_RETURN(const spec::Spec spec, known.dir.LoadSpec());
  ASSIGN_OR_RETURN(const OciStatus status, StatusOf(known.dir, known.record));
  RETURN_IF_ERROR(Print(StateJson(known.record, spec, status) + "\n"));
  return 0;
}

StatusOr<int> ListCommand(const OciGlobals& globals, OciArguments arguments) {
  const OptionTable table = {.flags = {"quiet"},
                             .with_value = {"format"},
                             .short_names = {{'q', "quiet"}, {'f', "format"}}};
  ASSIGN_OR_RETURN(const Options options, ParseOptions(table, arguments));
  ASSIGN_OR_RETURN(const std::vector<std::string> ids, ListContainers(globals.root));
  const bool as_json = options.Get("format") == "json";
  json list = json::array();
  std::string text = options.Has("quiet") ? "" : "ID\tPID\tSTATUS\tBUNDLE\tCREATED\n";
  for (const std::string& id : ids) {
    ASSIGN_OR_RETURN(const OciStateDir dir, OciStateDir::At(globals.root, id));
    const auto record = dir.Load();
    if (!record.ok()) continue;  // removed meanwhile
    ASSIGN_OR_RETURN(const OciStatus status, StatusOf(dir, *record));
    const pid_t pid = status == OciStatus::kStopped ? 0 : record->pid;
    list.push_back({{"id", id},
                    {"pid", pid},
                    {"status", StatusName(status)},
                    {"bundle", record->bundle},
                    {"created", record->created}});
    absl::StrAppend(&text, id, "\n");
    if (options.Has("quiet")) continue;
    text.pop_back();
    absl::StrAppend(&text, "\t", pid, "\t", StatusName(status), "\t", record->bundle, "\t",
                    record->created, "\n");
  }
  RETURN_IF_ERROR(Print(as_json ? DumpJson(list) + "\n" : text));
  return 0;
}

StatusOr<int> PsCommand(const OciGlobals& globals, OciArguments arguments) {
  ASSIGN_OR_RETURN(
      const Options options,
      ParseOptions({.with_value = {"format"}, .short_names = {{'f', "format"}}}, arguments));
  ASSIGN_OR_RETURN(const KnownContainer known, Find(globals, options));
  ASSIGN_OR_RETURN(const CgroupPaths paths, CgroupOf(known.record));
  ASSIGN_OR_RETURN(const std::vector<pid_t> processes, CgroupProcesses(paths));
  if (options.Get("format") == "json") {
    RETURN_IF_ERROR(Print(DumpJson(json(processes)) + "\n"));
    return 0;
  }
  std::string text = "PID\n";
  for (const pid_t pid : processes) absl::StrAppend(&text, pid, "\n");
  RETURN_IF_ERROR(Print(text));
  return 0;
}

StatusOr<int> SpecCommand(const OciGlobals& /*globals*/, OciArguments arguments) {
  ASSIGN_OR_RETURN(
      const Options options,
      ParseOptions({.with_value = {"bundle"}, .short_names = {{'b', "bundle"}}}, arguments));
  const std::string path =
      (options.Has("bundle") ? options.Get("bundle") + "/" : std::string()) + "config.json";
  if (access(path.c_str(), F_OK) == 0)
    return absl::AlreadyExistsError(absl::StrCat(path, " exists; remove it first"));
  ASSIGN_OR_RETURN(const json document, ParseJson(spec::ToJson(ExampleSpec())));
  RETURN_IF_ERROR(CreateFileAt(AT_FDCWD, path, DumpJson(document, /*indented=*/true) + "\n", 0644));
  return 0;
}

StatusOr<int> FeaturesCommand(const OciGlobals& /*globals*/, OciArguments arguments) {
  RETURN_IF_ERROR(ParseOptions({}, arguments).status());
  RETURN_IF_ERROR(Print(DumpJson(Features(), /*indented=*/true) + "\n"));
  return 0;
}

}  // namespace gantry::runtime
