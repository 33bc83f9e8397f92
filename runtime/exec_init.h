// The child side of exec.h: the middle process, then the real one.
#pragma once

#include <optional>

#include "runtime/base/status.h"
#include "runtime/exec.h"
#include "runtime/linux/unique_fd.h"
#include "runtime/process_launch.h"

namespace gantry::runtime {

class ExecInit {
 public:
  ExecInit(const ExecRequest& request, UniqueFd handshake);
  [[noreturn]] void Run();

 private:
  Status DropInheritedFds();
  Status EnterV1Cgroups();
  Status JoinContainer();
  // What takes the host's capabilities, when the container has a user namespace of its own.
  Status PrepareForUserNamespace();
  // Returns in the real process, and in the middle one on failure.
  Status CloneReal();
  Status Launch();

  const ExecRequest& request_;
  UniqueFd handshake_;
  ProcessLaunch launch_;
};

}  // namespace gantry::runtime
