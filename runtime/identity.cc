#include "runtime/identity.h"

#include <grp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "runtime/capabilities.h"

namespace gantry::runtime {
namespace {

// Plain system calls: glibc's wrappers tell all threads by a signal, and there is but one.
Status SetGroups(const spec::User& user) {
  // The primary group belongs among them: without it a file whose group is denied would open
  // (CVE-2022-2989).
  std::vector<gid_t> groups(user.additional_gids.begin(), user.additional_gids.end());
  if (std::find(groups.begin(), groups.end(), user.gid) == groups.end()) {
    groups.insert(groups.begin(), user.gid);
  }
  if (syscall(SYS_setgroups, groups.size(), groups.data()) != 0) {
    return SyscallError("setgroups", absl::StrCat(groups.size(), " groups"));
  }
  return absl::OkStatus();
}

Status SetIds(const spec::User& user) {
  if (syscall(SYS_setresgid, user.gid, user.gid, user.gid) != 0) {
    return SyscallError("setresgid", absl::StrCat(user.gid));
  }
  if (syscall(SYS_setresuid, user.uid, user.uid, user.uid) != 0) {
    return SyscallError("setresuid", absl::StrCat(user.uid));
  }
  return absl::OkStatus();
}

Status NotMapped(absl::string_view what, uint32_t id) {
  return absl::InvalidArgumentError(
      absl::StrCat(what, " ", id, " is not mapped in the container's user namespace"));
}

}  // namespace

StatusOr<uint32_t> HostUser(const spec::User& user, const IdMaps& maps) {
  if (maps.empty()) return user.uid;
  const auto uid = HostId(maps.uids, user.uid);
  if (!uid.has_value()) return NotMapped("user", user.uid);
  if (!HostId(maps.gids, user.gid).has_value()) return NotMapped("group", user.gid);
  for (const uint32_t gid : user.additional_gids) {
    if (!HostId(maps.gids, gid).has_value()) return NotMapped("supplementary group", gid);
  }
  return *uid;
}

Status AssumeIdentity(const spec::Process& process) {
  ASSIGN_OR_RETURN(const uint64_t held, HeldCapabilities());
  const CapabilitySets sets = PlanCapabilities(process.capabilities, held);
  // The bounding set first: dropping needs CAP_SETPCAP, which goes with the user id.
  RETURN_IF_ERROR(DropBounding(sets.bounding));
  // Leaving uid 0 empties the permitted set unless it is told to stay; execve takes the flag away
  // again.
  if (process.user.uid != 0 && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) {
    return SyscallError("keep capabilities");
  }
  RETURN_IF_ERROR(SetGroups(process.user));
  RETURN_IF_ERROR(SetIds(process.user));
  RETURN_IF_ERROR(SetCapabilities(sets));
  if (process.no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return SyscallError("set no_new_privs");
  }
  return absl::OkStatus();
}

}  // namespace gantry::runtime
