// Descriptors of another network namespace: setns(2) moves a thread, so a thread that lives no
// longer makes them. They stay of that namespace wherever they are used. For processes with
// threads.
#pragma once

#include <functional>
#include <string>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry {

// Calls `make` inside of the namespace that is pinned at `netns_path`, and returns what it does.
// SyscallError("open", netns_path) or SyscallError("setns", netns_path): it was not called.
StatusOr<UniqueFd> OpenInNetwork(const std::string& netns_path,
                                 const std::function<StatusOr<UniqueFd>()>& make);

}  // namespace gantry
