// How a session tells its client the end: the last words on the error channel.
#pragma once

#include <string>

#include "runtime/base/status.h"

namespace gantry::cri::streaming {

// `exit`: the command's code, or why there is none. Versions 4 and 5: a Status of Kubernetes' API,
// always; a code that is not zero has the reason NonZeroExitCode and a cause ExitCode. Before that:
// text, empty for success.
std::string CommandStatus(int version, const StatusOr<int>& exit);

}  // namespace gantry::cri::streaming
