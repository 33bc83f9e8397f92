#include "runtime/sysctls.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "runtime/linux/file.h"
#include "runtime/linux/mount.h"
#include "runtime/linux/path_in_root.h"

namespace gantry::runtime {
namespace {

// What the IPC namespace isolates of kernel.*, by path (ipc/ipc_sysctl.c).
constexpr absl::string_view kIpcSysctls[] = {
    "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem",
    "kernel/shmall", "kernel/shmmax", "kernel/shmmni", "kernel/shm_rmid_forced",
};

// The namespace that isolates it; empty: none.
std::string IsolatingNamespace(const std::string& path) {
  if (path.starts_with("net/")) return "network";
  if (path.starts_with("fs/mqueue/")) return "ipc";
  if (std::find(std::begin(kIpcSysctls), std::end(kIpcSysctls), path) != std::end(kIpcSysctls)) {
    return "ipc";
  }
  if (path == "kernel/domainname") return "uts";
  return "";
}

bool IsPlainName(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return absl::ascii_isalnum(u) || absl::StrContains("._-/:@", std::string(1, c));
  });
}

bool HasDotComponent(const std::string& path) {
  const std::string slashed = absl::StrCat("/", path, "/");
  return absl::StrContains(slashed, "/../") || absl::StrContains(slashed, "/./") ||
         absl::StrContains(slashed, "//");
}

// Effective ids for as long as it lives; the capabilities come back with it.
class AsOwner {
 public:
  explicit AsOwner(const HostOwner& owner) {
    syscall(SYS_setresgid, -1, owner.gid, -1);
    syscall(SYS_setresuid, -1, owner.uid, -1);
  }
  ~AsOwner() {
    syscall(SYS_setresuid, -1, 0, -1);
    syscall(SYS_setresgid, -1, 0, -1);
  }
  AsOwner(const AsOwner&) = delete;
  AsOwner& operator=(const AsOwner&) = delete;
};

Status WriteSysctl(int root, const std::string& name, const std::string& value) {
  const std::string context = absl::StrCat("sysctl \"", name, "\"");
  ASSIGN_OR_RETURN_CONTEXT(const UniqueFd file, OpenInRoot(root, SysctlPath(name), O_WRONLY),
                           context);
  return WriteAll(file.get(), value, context);
}

}  // namespace

std::string SysctlPath(const std::string& name) {
  const size_t first = name.find_first_of("./");
  if (first == std::string::npos || name[first] == '/') return name;
  std::string path = name;
  for (char& c : path) {
    if (c == '.') {
      c = '/';
    } else if (c == '/') {
      c = '.';
    }
  }
  return path;
}

Status CheckSysctl(const std::string& name, const std::string& value,
                   const std::set<std::string>& namespaces) {
  const std::string path = SysctlPath(name);
  if (!IsPlainName(name) || HasDotComponent(path)) {
    return absl::InvalidArgumentError(absl::StrCat("sysctl \"", name, "\": not a name"));
  }
  if (std::any_of(value.begin(), value.end(), [](char c) {
        return absl::ascii_iscntrl(static_cast<unsigned char>(c)) && c != '\t';
      })) {
    return absl::InvalidArgumentError(
        absl::StrCat("sysctl \"", name, "\": its value holds control characters"));
  }
  const std::string isolating = IsolatingNamespace(path);
  if (isolating.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("sysctl \"", name, "\" is not isolated by any namespace"));
  }
  if (!namespaces.contains(isolating)) {
    return absl::InvalidArgumentError(absl::StrCat("sysctl \"", name, "\" needs a ", isolating,
                                                   " namespace that is not the host's"));
  }
  return absl::OkStatus();
}

Status ApplySysctls(const std::map<std::string, std::string>& sysctls,
                    const std::set<std::string>& namespaces, const HostOwner& owner) {
  if (sysctls.empty()) return absl::OkStatus();
  for (const auto& [name, value] : sysctls) RETURN_IF_ERROR(CheckSysctl(name, value, namespaces));
  ASSIGN_OR_RETURN(
      const UniqueFd proc,
      NewMount("proc", "proc", {}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
  ASSIGN_OR_RETURN(const UniqueFd root, OpenInRoot(proc.get(), "sys", O_PATH | O_DIRECTORY));
  for (const auto& [name, value] : sysctls) {
    Status written = WriteSysctl(root.get(), name, value);
    if (ErrnoOf(written) == EACCES && owner.uid != 0) {
      // What an IPC namespace isolates can be written by the root of its user namespace and by
      // nobody else, whatever their capabilities (ipc_permissions, Linux 6.9).
      const AsOwner as_owner(owner);
      written = WriteSysctl(root.get(), name, value);
    }
    RETURN_IF_ERROR(written);
  }
  return absl::OkStatus();
}

}  // namespace gantry::runtime
