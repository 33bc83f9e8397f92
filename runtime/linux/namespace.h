// Namespaces by their names in the OCI specification ("pid", "network", "mount", "ipc", "uts",
// "user", "cgroup", "time").
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry {

// CLONE_NEWPID for "pid" and so on; nothing for a name that the specification does not know.
std::optional<int> NamespaceFlag(absl::string_view type);

// The name below /proc/PID/ns: "net" for "network", "mnt" for "mount", else the type itself.
std::string NamespaceFile(absl::string_view type);

// The caller's own namespace of that type, opened.
StatusOr<UniqueFd> OwnNamespace(absl::string_view type);

// setns(2). `flags`: what `fd` must be, several CLONE_NEW* for a pidfd. `name` is for the message.
Status JoinNamespace(int fd, int flags, absl::string_view name);

// unshare(2).
Status Unshare(int flags);

}  // namespace gantry
