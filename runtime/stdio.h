// The three descriptors of a process: pipes that it is given, or a terminal of the container's own
// devpts.
#pragma once

#include <optional>
#include <span>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

// Puts `stdio` on 0, 1 and 2. -1, and any descriptor of the host's null device, becomes the null
// device of the container at `root_fd`: through the host's inode a container could change its mode.
// Pipes and sockets change owner to `uid`, so that /dev/stdout can be opened again.
Status AttachStdio(std::span<const int, 3> stdio, uid_t uid, int root_fd);

// Only the change of owner, for whoever loses the right to it before AttachStdio.
Status GiveStdio(std::span<const int, 3> stdio, uid_t uid);

struct Terminal {
  UniqueFd master;
  UniqueFd slave;
};

// A new pty of the devpts mounted below `root_fd`. kInternal when what lies there is not a devpts
// (CVE-2025-52565).
StatusOr<Terminal> OpenTerminal(int root_fd, const std::optional<spec::ConsoleSize>& size);

// Binds the slave on /dev/console below `root_fd`.
Status MountConsole(const Terminal& terminal, int root_fd);

// Makes the slave the controlling terminal of the caller's session and its 0, 1 and 2, owned by
// `uid`.
Status AttachTerminal(const Terminal& terminal, uid_t uid);

}  // namespace gantry::runtime
