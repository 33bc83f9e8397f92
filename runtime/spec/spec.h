// The OCI runtime specification (1.2, Linux) as plain values. Field names follow config.json;
// absent optionals stay unset. Nothing here acts; json.h reads and writes it, validate.h checks it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace gantry::spec {

struct User {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::optional<uint32_t> umask = {};
  std::vector<uint32_t> additional_gids = {};
};

// Capability names with the CAP_ prefix.
struct Capabilities {
  std::vector<std::string> bounding = {}, effective = {}, inheritable = {}, permitted = {},
                           ambient = {};
};

struct Rlimit {
  std::string type = {};  // RLIMIT_NOFILE …
  uint64_t soft = 0;
  uint64_t hard = 0;
};

struct ConsoleSize {
  uint32_t height = 0;
  uint32_t width = 0;
};

struct Process {
  bool terminal = false;
  std::optional<ConsoleSize> console_size = {};
  User user = {};
  std::vector<std::string> args = {};
  std::vector<std::string> env = {};  // KEY=value
  std::string cwd = "/";
  std::optional<Capabilities> capabilities = {};
  std::vector<Rlimit> rlimits = {};
  bool no_new_privileges = false;
  std::string apparmor_profile = {};
  std::string selinux_label = {};
  std::optional<int> oom_score_adj = {};
};

struct Root {
  std::string path = {};
  bool readonly = false;
};

struct IdMapping {
  uint32_t container_id = 0;
  uint32_t host_id = 0;
  uint32_t size = 0;
};

// type "bind" or options with "bind"/"rbind": a bind mount. Options as in mount(8), with rro,
// rprivate, rslave, rshared.
// An option of ours for bind mounts: a source that is not there becomes a directory, 0755 and
// root's, as volumes of a host path are expected to.
inline constexpr char kMakeSource[] = "x-gantry.make-source";

struct Mount {
  std::string destination = {};
  std::string type = {};
  std::string source = {};
  std::vector<std::string> options = {};
  std::vector<IdMapping> uid_mappings = {}, gid_mappings = {};
};

struct Hook {
  std::string path = {};
  std::vector<std::string> args = {};
  std::vector<std::string> env = {};
  std::optional<int> timeout = {};  // seconds
};

struct Hooks {
  std::vector<Hook> prestart, create_runtime, create_container, start_container, poststart,
      poststop;
};

// type: pid, network, mount, ipc, uts, user, cgroup, time. Without a path a new namespace is made.
struct Namespace {
  std::string type = {};
  std::string path = {};
};

struct Device {
  std::string path = {};
  std::string type = {};  // c, b, u, p
  int64_t major = 0;
  int64_t minor = 0;
  std::optional<uint32_t> file_mode = {}, uid = {}, gid = {};
};

struct DeviceRule {
  bool allow = false;
  std::string type = {};                          // a, c, b; empty: a
  std::optional<int64_t> major = {}, minor = {};  // unset: all
  std::string access = {};                        // subset of rwm
};

struct MemoryLimits {
  std::optional<int64_t> limit = {}, reservation = {},
                         swap = {};  // bytes; swap is memory + swap; -1: unlimited
  std::optional<bool> disable_oom_killer = {};
};

struct CpuLimits {
  std::optional<uint64_t> shares = {}, period = {};
  std::optional<int64_t> quota = {};
  std::optional<uint64_t> burst = {};
  std::optional<int64_t> idle = {};
  std::string cpus = {}, mems = {};
};

struct HugepageLimit {
  std::string page_size = {};  // 2MB, 1GB
  uint64_t limit = 0;          // bytes
};

struct BlockDeviceRate {
  int64_t major = 0;
  int64_t minor = 0;
  uint64_t rate = 0;  // bytes or operations per second
};

struct BlockIoLimits {
  std::optional<uint32_t> weight = {};  // 10 to 1000
  std::vector<BlockDeviceRate> read_bps = {}, write_bps = {}, read_iops = {}, write_iops = {};
};

struct Resources {
  std::vector<DeviceRule> devices = {};
  std::optional<MemoryLimits> memory = {};
  std::optional<BlockIoLimits> block_io = {};
  std::optional<CpuLimits> cpu = {};
  std::optional<int64_t> pids_limit = {};
  std::vector<HugepageLimit> hugepage_limits = {};
  std::map<std::string, std::string> unified = {};  // cgroup v2 file → value
};

struct SeccompArg {
  uint32_t index = 0;
  uint64_t value = 0;
  uint64_t value_two = 0;
  std::string op = {};  // SCMP_CMP_EQ …
};

struct SeccompRule {
  std::vector<std::string> names = {};
  std::string action = {};  // SCMP_ACT_ALLOW …
  std::optional<uint32_t> errno_ret = {};
  std::vector<SeccompArg> args = {};
};

struct Seccomp {
  std::string default_action = {};
  std::optional<uint32_t> default_errno_ret = {};
  std::vector<std::string> architectures = {};
  std::vector<std::string> flags = {};
  std::vector<SeccompRule> syscalls = {};
};

struct Linux {
  std::vector<Namespace> namespaces = {};
  std::vector<IdMapping> uid_mappings = {}, gid_mappings = {};
  std::vector<Device> devices = {};
  std::string cgroups_path = {};
  std::optional<Resources> resources = {};
  std::string rootfs_propagation = {};  // private, slave, shared, rprivate …; empty: rprivate
  std::optional<Seccomp> seccomp = {};
  std::map<std::string, std::string> sysctl = {};
  std::vector<std::string> masked_paths = {}, readonly_paths = {};
  std::string mount_label = {};
};

struct Spec {
  std::string version = "1.2.0";
  std::optional<Process> process = {};
  Root root = {};
  std::string hostname = {}, domainname = {};
  std::vector<Mount> mounts = {};
  Hooks hooks = {};
  std::map<std::string, std::string> annotations = {};
  Linux linux_ = {};
};

}  // namespace gantry::spec
