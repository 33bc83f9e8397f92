#include "runtime/id_maps.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/process.h"

namespace gantry::runtime {
namespace {

// capset(2) by hand: gantryd needs this file, and not libcap, of the runtime.
Status RaiseEffective() {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  struct __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) != 0) return SyscallError("capget");
  for (auto& half : data) half.effective = half.permitted;
  if (syscall(SYS_capset, &header, data) != 0) return SyscallError("capset");
  return absl::OkStatus();
}

// A change of identity may make a process dumpable (fs.suid_dumpable): not for a container's eyes.
Status StayUndumpable() {
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return SyscallError("set undumpable");
  return absl::OkStatus();
}

// Only system calls: the caller may have had threads. Goes with the thread that made it.
[[noreturn]] void HoldNamespace() {
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  while (true) pause();
}

}  // namespace

std::optional<uint32_t> HostId(const std::vector<spec::IdMapping>& mappings, uint32_t id) {
  for (const spec::IdMapping& mapping : mappings) {
    if (id < mapping.container_id || id - mapping.container_id >= mapping.size) continue;
    return mapping.host_id + (id - mapping.container_id);
  }
  return std::nullopt;
}

StatusOr<HostOwner> HostRoot(const IdMaps& maps) {
  const auto uid = HostId(maps.uids, 0);
  const auto gid = HostId(maps.gids, 0);
  if (!uid.has_value() || !gid.has_value()) {
    return absl::InvalidArgumentError("the user namespace does not map id 0");
  }
  return HostOwner{*uid, *gid};
}

std::string IdMapText(const std::vector<spec::IdMapping>& mappings) {
  std::string text;
  for (const spec::IdMapping& mapping : mappings) {
    absl::StrAppend(&text, mapping.container_id, " ", mapping.host_id, " ", mapping.size, "\n");
  }
  return text;
}

StatusOr<std::vector<spec::IdMapping>> ParseIdMap(absl::string_view text) {
  std::vector<spec::IdMapping> mappings;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipWhitespace())) {
    const std::vector<absl::string_view> fields =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    spec::IdMapping mapping;
    if (fields.size() != 3 || !absl::SimpleAtoi(fields[0], &mapping.container_id) ||
        !absl::SimpleAtoi(fields[1], &mapping.host_id) ||
        !absl::SimpleAtoi(fields[2], &mapping.size)) {
      return absl::InvalidArgumentError(absl::StrCat("\"", line, "\" is no line of an id map"));
    }
    mappings.push_back(mapping);
  }
  return mappings;
}

Status WriteIdMaps(pid_t pid, const IdMaps& maps) {
  const std::string proc = absl::StrCat("/proc/", pid);
  RETURN_IF_ERROR(WriteFileAt(AT_FDCWD, proc + "/uid_map", IdMapText(maps.uids)));
  return WriteFileAt(AT_FDCWD, proc + "/gid_map", IdMapText(maps.gids));
}

StatusOr<UniqueFd> MakeUserNamespace(const IdMaps& maps) {
  // CLONE_FILES: no descriptor of the caller's lives on in the child, however short.
  ASSIGN_OR_RETURN_CONTEXT(ClonedProcess child,
                           Clone(CloneRequest{.flags = CLONE_NEWUSER | CLONE_FILES}),
                           "make a user namespace");
  if (child.pid == 0) HoldNamespace();
  const absl::Cleanup end = [&child] {
    (void)SignalPidFd(child.pidfd.get(), SIGKILL);
    (void)WaitPidFd(child.pidfd.get(), /*block=*/true);
  };
  RETURN_IF_ERROR_CONTEXT(WriteIdMaps(child.pid, maps), "make a user namespace");
  return OpenAt(AT_FDCWD, absl::StrCat("/proc/", child.pid, "/ns/user"), O_RDONLY);
}

std::string IdMapKey(const std::vector<spec::IdMapping>& uids,
                     const std::vector<spec::IdMapping>& gids) {
  return absl::StrCat(IdMapText(uids), "/", IdMapText(gids));
}

StatusOr<IdMapNamespaces> MakeIdMapNamespaces(const std::vector<spec::Mount>& mounts) {
  IdMapNamespaces namespaces;
  for (const spec::Mount& mount : mounts) {
    if (mount.uid_mappings.empty() || mount.gid_mappings.empty()) continue;
    const std::string key = IdMapKey(mount.uid_mappings, mount.gid_mappings);
    if (namespaces.contains(key)) continue;
    ASSIGN_OR_RETURN_CONTEXT(UniqueFd made,
                             MakeUserNamespace({mount.uid_mappings, mount.gid_mappings}),
                             absl::StrCat("mount \"", mount.destination, "\""));
    namespaces[key] = std::move(made);
  }
  return namespaces;
}

Status BecomeNamespaceRoot() {
  // Plain system calls: glibc's wrappers tell all threads by a signal, and there is but one.
  if (syscall(SYS_setresgid, 0, 0, 0) != 0) return SyscallError("setresgid", "0");
  if (syscall(SYS_setresuid, 0, 0, 0) != 0) return SyscallError("setresuid", "0");
  return StayUndumpable();
}

Status MakeFilesAs(const HostOwner& owner) {
  // These two calls tell no error; what they answer to an impossible id is the id in force.
  constexpr auto kNoId = static_cast<uint32_t>(-1);
  setfsgid(owner.gid);
  if (static_cast<uint32_t>(setfsgid(kNoId)) != owner.gid) {
    return SyscallError("setfsgid", absl::StrCat(owner.gid), EPERM);
  }
  setfsuid(owner.uid);
  if (static_cast<uint32_t>(setfsuid(kNoId)) != owner.uid) {
    return SyscallError("setfsuid", absl::StrCat(owner.uid), EPERM);
  }
  // Leaving uid 0 has taken the capabilities that are about files out of the effective set.
  RETURN_IF_ERROR(RaiseEffective());
  return StayUndumpable();
}

}  // namespace gantry::runtime
