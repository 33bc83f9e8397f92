// The terminal of a container that gantry-oci started: handed to whoever asked for it, or joined to
// our own.
#pragma once

#include <string>

#include "runtime/base/status.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::runtime {

// Sends the pty's master to the stream socket at `path`: one message with the descriptor, as runc
// does.
Status SendTerminal(const std::string& path, int master);

// Signals that a process in the foreground passes on; blocked from here on, to be read from the
// descriptor (signalfd).
StatusOr<UniqueFd> CatchSignals();

// Stands in for the process in the foreground until it ends: signals that we get go to it, and with
// a `master` (else -1) our standard input and output are its terminal, raw where they are one, with
// window sizes followed. The process must be our child.
StatusOr<ExitStatus> Attend(int pidfd, int signals, int master);

}  // namespace gantry::runtime
