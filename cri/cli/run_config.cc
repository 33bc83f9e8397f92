#include "cri/cli/run_config.h"

#include <cmath>
#include <cstdlib>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "cri/cli/format.h"
#include "cri/network/cni.h"

namespace gantry::cli {
namespace {

namespace api = ::runtime::v1;

constexpr char kUidPrefix[] = "run-";
constexpr int64_t kCpuPeriod = 100'000;  // microseconds, the kernel's default
constexpr double kMinCpus = 0.01;        // the least quota that the kernel takes: 1 ms

// What containers do not see of /proc and /sys unless they are privileged, as other runtimes'
// clients have it.
constexpr const char* kMaskedPaths[] = {
    "/proc/acpi",        "/proc/asound",  "/proc/interrupts",
    "/proc/kcore",       "/proc/keys",    "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi",    "/proc/timer_list",
    "/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap"};
constexpr const char* kReadonlyPaths[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                          "/proc/sysrq-trigger"};

Status Bad(absl::string_view option, absl::string_view value, absl::string_view reason) {
  return absl::InvalidArgumentError(absl::StrCat(option, " \"", value, "\": ", reason));
}

Status CheckMount(const api::Mount& mount, absl::string_view option, absl::string_view value) {
  if (!absl::StartsWith(mount.host_path(), "/")) {
    return Bad(option, value, "the source must be an absolute path");
  }
  if (!absl::StartsWith(mount.container_path(), "/")) {
    return Bad(option, value, "the target must be an absolute path");
  }
  return absl::OkStatus();
}

Status SetPropagation(absl::string_view name, api::Mount& mount) {
  if (name == "rprivate" || name == "private") {
    mount.set_propagation(api::PROPAGATION_PRIVATE);
  } else if (name == "rslave" || name == "slave") {
    mount.set_propagation(api::PROPAGATION_HOST_TO_CONTAINER);
  } else if (name == "rshared" || name == "shared") {
    mount.set_propagation(api::PROPAGATION_BIDIRECTIONAL);
  } else {
    return absl::InvalidArgumentError("propagation is one of rprivate, rslave, rshared");
  }
  return absl::OkStatus();
}

Status SetMountKey(absl::string_view key, absl::string_view value, api::Mount& mount) {
  if (key == "source" || key == "src") {
    mount.set_host_path(std::string(value));
  } else if (key == "target" || key == "dst" || key == "destination") {
    mount.set_container_path(std::string(value));
  } else if (key == "readonly" || key == "ro") {
    mount.set_readonly(value.empty() || value == "true");
  } else if (key == "propagation" || key == "bind-propagation") {
    return SetPropagation(value, mount);
  } else if (key != "type" || value != "bind") {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", key,
                     "\" is not known; type=bind, source, target, readonly and "
                     "propagation are"));
  }
  return absl::OkStatus();
}

StatusOr<api::Mount> ParseMount(const std::string& text) {
  api::Mount mount;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(part, absl::MaxSplits('=', 1));
    const Status set = SetMountKey(pair.first, pair.second, mount);
    if (!set.ok()) return Bad("--mount", text, set.message());
  }
  RETURN_IF_ERROR(CheckMount(mount, "--mount", text));
  return mount;
}

StatusOr<api::Mount> ParseVolume(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  if (parts.size() < 2 || parts.size() > 3) {
    return Bad("--volume", text, "write SOURCE:TARGET or SOURCE:TARGET:ro");
  }
  api::Mount mount;
  mount.set_host_path(parts[0]);
  mount.set_container_path(parts[1]);
  if (parts.size() == 3 && parts[2] != "ro" && parts[2] != "rw") {
    return Bad("--volume", text, "the last part is ro or rw");
  }
  mount.set_readonly(parts.size() == 3 && parts[2] == "ro");
  RETURN_IF_ERROR(CheckMount(mount, "--volume", text));
  return mount;
}

Status AddEnvs(const RunOptions& options, api::ContainerConfig& container) {
  for (const std::string& text : options.envs) {
    const size_t equals = text.find('=');
    const std::string key = text.substr(0, equals);
    if (key.empty()) return Bad("--env", text, "write KEY=value, or KEY");
    const char* inherited = getenv(key.c_str());
    if (equals == std::string::npos && inherited == nullptr) continue;  // as docker has it
    api::KeyValue* env = container.add_envs();
    env->set_key(key);
    env->set_value(equals == std::string::npos ? inherited : text.substr(equals + 1));
  }
  return absl::OkStatus();
}

bool ParsePort(absl::string_view text, int32_t& port) {
  return absl::SimpleAtoi(text, &port) && port > 0 && port < 65536;
}

Status AddPorts(const RunOptions& options, api::PodSandboxConfig& sandbox) {
  for (const std::string& text : options.publish) {
    if (options.network != "pod") return Bad("--publish", text, "needs --net pod");
    const std::pair<std::string, std::string> protocol =
        absl::StrSplit(text, absl::MaxSplits('/', 1));
    const size_t last = protocol.first.rfind(':');
    const size_t first = last == 0 || last == std::string::npos
                             ? std::string::npos
                             : protocol.first.rfind(':', last - 1);
    const size_t host = first == std::string::npos ? 0 : first + 1;
    api::PortMapping* mapping = sandbox.add_port_mappings();
    int32_t host_port = 0;
    int32_t port = 0;
    if (last == std::string::npos ||
        !ParsePort(protocol.first.substr(host, last - host), host_port) ||
        !ParsePort(protocol.first.substr(last + 1), port)) {
      return Bad("--publish", text, "write [IP:]HOST_PORT:PORT[/tcp|udp|sctp]");
    }
    if (host > 0) mapping->set_host_ip(protocol.first.substr(0, first));
    mapping->set_host_port(host_port);
    mapping->set_container_port(port);
    api::Protocol value = api::TCP;
    if (protocol.second == "udp") value = api::UDP;
    if (protocol.second == "sctp") value = api::SCTP;
    mapping->set_protocol(value);
  }
  return absl::OkStatus();
}

Status SetUser(const std::string& user, api::LinuxContainerSecurityContext& security) {
  if (user.empty()) return absl::OkStatus();
  const std::pair<std::string, std::string> parts = absl::StrSplit(user, absl::MaxSplits(':', 1));
  int64_t number = 0;
  if (absl::SimpleAtoi(parts.first, &number)) {
    security.mutable_run_as_user()->set_value(number);
  } else if (!parts.first.empty()) {
    security.set_run_as_username(parts.first);
  } else {
    return Bad("--user", user, "write USER or USER:GID");
  }
  if (user.find(':') == std::string::npos) return absl::OkStatus();
  if (!absl::SimpleAtoi(parts.second, &number)) {
    return Bad("--user", user, "the group must be a number");
  }
  security.mutable_run_as_group()->set_value(number);
  return absl::OkStatus();
}

Status SetLimits(const RunOptions& options, api::LinuxContainerResources& resources) {
  if (!options.memory.empty()) {
    const StatusOr<int64_t> bytes = ParseBytes(options.memory);
    if (!bytes.ok()) return Annotate(bytes.status(), "--memory");
    resources.set_memory_limit_in_bytes(*bytes);
  }
  if (options.cpus == 0) return absl::OkStatus();
  if (!(options.cpus >= kMinCpus && options.cpus <= 10'000)) {
    return Bad("--cpus", absl::StrCat(options.cpus), "write a number from 0.01");
  }
  resources.set_cpu_period(kCpuPeriod);
  resources.set_cpu_quota(std::llround(options.cpus * static_cast<double>(kCpuPeriod)));
  return absl::OkStatus();
}

Status SetNamespaces(const RunOptions& options, RunPlan& plan) {
  if (options.network != "pod" && options.network != "host" && options.network != "none") {
    return Bad("--net", options.network, "is none of pod, host, none");
  }
  if (options.network == "none") {
    (*plan.sandbox.mutable_annotations())[cri::kNetworkAnnotation] = cri::kNoNetwork;
  }
  api::NamespaceOption namespaces;
  namespaces.set_network(options.network == "host" ? api::NODE : api::POD);
  namespaces.set_pid(api::CONTAINER);
  *plan.sandbox.mutable_linux()->mutable_security_context()->mutable_namespace_options() =
      namespaces;
  *plan.container.mutable_linux()->mutable_security_context()->mutable_namespace_options() =
      namespaces;
  return absl::OkStatus();
}

void SetSecurity(const RunOptions& options, RunPlan& plan) {
  api::LinuxContainerSecurityContext& security =
      *plan.container.mutable_linux()->mutable_security_context();
  security.set_privileged(options.privileged);
  plan.sandbox.mutable_linux()->mutable_security_context()->set_privileged(options.privileged);
  security.set_readonly_rootfs(options.read_only);
  for (const std::string& name : options.add_capabilities) {
    security.mutable_capabilities()->add_add_capabilities(name);
  }
  for (const std::string& name : options.drop_capabilities) {
    security.mutable_capabilities()->add_drop_capabilities(name);
  }
  if (options.privileged) return;
  security.mutable_seccomp()->set_profile_type(api::SecurityProfile::RuntimeDefault);
  for (const char* path : kMaskedPaths) security.add_masked_paths(path);
  for (const char* path : kReadonlyPaths) security.add_readonly_paths(path);
}

void SetNames(const RunOptions& options, const RunIdentity& identity, RunPlan& plan) {
  api::PodSandboxMetadata& metadata = *plan.sandbox.mutable_metadata();
  metadata.set_name(identity.name);
  metadata.set_uid(identity.uid);
  metadata.set_namespace_(kRunNamespace);
  plan.sandbox.set_log_directory(identity.log_directory);
  if (options.network != "host") {
    plan.sandbox.set_hostname(options.hostname.empty() ? identity.name : options.hostname);
  }
  plan.container.mutable_metadata()->set_name(identity.name);
  plan.container.mutable_image()->set_image(options.image);
  plan.container.mutable_image()->set_user_specified_image(options.image);
  plan.container.set_log_path(kLogFile);
  plan.container.set_working_dir(options.workdir);
  (*plan.sandbox.mutable_labels())[kRunLabel] = "true";
  (*plan.container.mutable_labels())[kRunLabel] = "true";
  plan.container.set_stdin(options.interactive);
  plan.container.set_stdin_once(options.interactive);
  plan.container.set_tty(options.tty);
}

}  // namespace

std::string NewRunUid() {
  std::random_device random;
  return absl::StrFormat("%s%08x%08x", kUidPrefix, random(), random());
}

bool IsRunUid(absl::string_view uid) {
  if (!absl::ConsumePrefix(&uid, kUidPrefix) || uid.size() != 16) return false;
  return uid.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
}

StatusOr<RunPlan> PlanRun(const RunOptions& options, const RunIdentity& identity) {
  RunPlan plan;
  SetNames(options, identity, plan);
  RETURN_IF_ERROR(SetNamespaces(options, plan));
  SetSecurity(options, plan);
  api::ContainerConfig& container = plan.container;
  if (!options.entrypoint.empty()) container.add_command(options.entrypoint);
  for (const std::string& word : options.command) container.add_args(word);
  RETURN_IF_ERROR(AddEnvs(options, container));
  for (const std::string& text : options.mounts) {
    ASSIGN_OR_RETURN(*container.add_mounts(), ParseMount(text));
  }
  for (const std::string& text : options.volumes) {
    ASSIGN_OR_RETURN(*container.add_mounts(), ParseVolume(text));
  }
  RETURN_IF_ERROR(AddPorts(options, plan.sandbox));
  RETURN_IF_ERROR(SetUser(options.user, *container.mutable_linux()->mutable_security_context()));
  RETURN_IF_ERROR(SetLimits(options, *container.mutable_linux()->mutable_resources()));
  return plan;
}

}  // namespace gantry::cli
