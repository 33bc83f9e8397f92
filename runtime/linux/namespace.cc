#include "runtime/linux/namespace.h"

#include <fcntl.h>
#include <sched.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace gantry {
namespace {

struct NamespaceType {
  absl::string_view type;
  absl::string_view file;
  int flag;
};

constexpr NamespaceType kTypes[] = {
    {"pid", "pid", CLONE_NEWPID},          {"network", "net", CLONE_NEWNET},
    {"mount", "mnt", CLONE_NEWNS},         {"ipc", "ipc", CLONE_NEWIPC},
    {"uts", "uts", CLONE_NEWUTS},          {"user", "user", CLONE_NEWUSER},
    {"cgroup", "cgroup", CLONE_NEWCGROUP}, {"time", "time", CLONE_NEWTIME},
};

}  // namespace

std::optional<int> NamespaceFlag(absl::string_view type) {
  for (const NamespaceType& known : kTypes) {
    if (known.type == type) return known.flag;
  }
  return std::nullopt;
}

std::string NamespaceFile(absl::string_view type) {
  for (const NamespaceType& known : kTypes) {
    if (known.type == type) return std::string(known.file);
  }
  return std::string(type);
}

StatusOr<UniqueFd> OwnNamespace(absl::string_view type) {
  return OpenAt(AT_FDCWD, absl::StrCat("/proc/self/ns/", NamespaceFile(type)), O_RDONLY);
}

Status JoinNamespace(int fd, int flags, absl::string_view name) {
  if (setns(fd, flags) != 0) return SyscallError("setns", name);
  return absl::OkStatus();
}

Status Unshare(int flags) {
  if (unshare(flags) != 0) return SyscallError("unshare");
  return absl::OkStatus();
}

}  // namespace gantry
