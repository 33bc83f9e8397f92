// Between `create` and `start` somebody must hold the parent's end of the handshake (create.h):
// when it closes, the container's init exits. The keeper is a small process that does, and that
// `start` asks by a socket in the state folder.
//
//   create:  … READY ── fork ──▶ keeper: listens ── waits ────────────────────────────────┐
//   start:   connect ──────────▶ keeper: START to init, waits ── "K" or "E" message ──▶ start
//   kill, delete: init exits ──▶ keeper: end of file, exits
//
// It is no parent of init: that is left to whoever waits for gantry-oci's children (a shim,
// conmon), which is also why the keeper and not a daemon of ours.
#pragma once

#include <string>

#include "runtime/base/status.h"
#include "runtime/create.h"

namespace gantry::runtime {

// Forks the keeper of a container at kCreated; it listens at `socket_path` when this returns. It
// holds nothing else of the caller's: no descriptors, no session. The caller must not use
// `creation` any more.
Status StartKeeper(Creation& creation, const std::string& socket_path, const std::string& id);

// Asks the keeper to start the container and waits. The error of the container's init, verbatim.
// kFailedPrecondition: there is no keeper (started already, or gone).
Status AskKeeper(const std::string& socket_path);

// Polls `creation` until it is at `step`. Blocks as long as init does.
Status DriveTo(Creation& creation, Creation::Step step);

}  // namespace gantry::runtime
