#include "imageservice/puller_confine.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/linux/unique_fd.h"

namespace gantry::images {
namespace {

constexpr uid_t kNobody = 65534;
constexpr rlim_t kMaxDescriptors = 1024;

constexpr uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr uint64_t kHandled =
    kRead | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
    LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
    LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
    LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;

// Name resolution: resolv.conf, hosts, nsswitch.conf, its modules, and where resolv.conf may point
// to. Executing is for the modules: mapping them does not need it, but costs nothing to leave out
// of /etc.
constexpr const char* kReadable[] = {"/etc",
                                     "/usr",
                                     "/lib",
                                     "/lib64",
                                     "/run/systemd/resolve",
                                     "/run/resolvconf",
                                     "/run/NetworkManager",
                                     "/run/nscd"};

// Landlock is a second wall: where the kernel has none, the uid has to do.
Status RestrictFiles() {
  const landlock_ruleset_attr attributes = {.handled_access_fs = kHandled};
  const UniqueFd ruleset(
      static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0)));
  if (!ruleset.valid()) return absl::OkStatus();
  for (const char* path : kReadable) {
    const UniqueFd directory(open(path, O_PATH | O_CLOEXEC));
    if (!directory.valid()) continue;
    const landlock_path_beneath_attr rule = {.allowed_access = kRead, .parent_fd = directory.get()};
    if (syscall(SYS_landlock_add_rule, ruleset.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
      return SyscallError("landlock_add_rule", path);
    }
  }
  if (syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0)
    return SyscallError("landlock_restrict_self");
  return absl::OkStatus();
}

}  // namespace

Status ConfinePuller() {
  const rlimit no_core = {0, 0};
  const rlimit descriptors = {kMaxDescriptors, kMaxDescriptors};
  if (setrlimit(RLIMIT_CORE, &no_core) != 0) return SyscallError("setrlimit", "core");
  if (setrlimit(RLIMIT_NOFILE, &descriptors) != 0) return SyscallError("setrlimit", "nofile");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return SyscallError("prctl", "no_new_privs");
  RETURN_IF_ERROR(RestrictFiles());
  if (geteuid() == 0) {
    if (setgroups(0, nullptr) != 0) return SyscallError("setgroups");
    if (setresgid(kNobody, kNobody, kNobody) != 0) return SyscallError("setresgid");
    if (setresuid(kNobody, kNobody, kNobody) != 0) return SyscallError("setresuid");
  }
  // Credentials are in this memory.
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return SyscallError("prctl", "dumpable");
  return absl::OkStatus();
}

}  // namespace gantry::images
