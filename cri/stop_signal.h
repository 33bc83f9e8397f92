// The signal that ends a container: CRI's enum, the image's STOPSIGNAL, and the kernel's numbers.
#pragma once

#include <string>

#include "cri/api.h"
#include "runtime/base/status.h"

namespace gantry::cri {

// CRI's choice, else the image's ("SIGQUIT", "QUIT", "3", "SIGRTMIN+3"), else SIGTERM.
// kInvalidArgument for a value that names no signal.
StatusOr<v1::Signal> EffectiveStopSignal(v1::Signal requested, const std::string& image_signal);

// The kernel's number of it; SIGTERM for SIGNAL_RUNTIME_DEFAULT.
int KernelSignal(v1::Signal signal);

}  // namespace gantry::cri
