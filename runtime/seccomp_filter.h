// Puts a compiled seccomp filter into force for the calling process.
#pragma once

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry::runtime {

// `bpf`: an array of struct sock_filter (seccomp/ makes them); empty: nothing is done. Needs
// CAP_SYS_ADMIN or no_new_privs. kInvalidArgument for bytes that are no filter.
Status InstallSeccompFilter(absl::string_view bpf);

}  // namespace gantry::runtime
