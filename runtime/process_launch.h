// The way of a cloned child to its program: what create and exec share. Called in the order of
// declaration; the child is then the program, or has an error to report. Nothing here undoes
// anything: on an error the child exits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/id_maps.h"
#include "runtime/spec/spec.h"
#include "runtime/stdio.h"

namespace gantry::runtime {

// Borrowed for the life of the ProcessLaunch.
struct LaunchRequest {
  const spec::Process& process;
  absl::string_view seccomp_bpf;
  std::span<const int, 3> stdio;
  int handshake;  // the child's end
};

// Where a process goes last, with what it may do on the host left behind.
struct UserNamespace {
  int fd = -1;  // -1: nowhere; it stays in the one that it is in
  IdMaps maps = {};
  bool new_cgroup_namespace = false;  // of its own too, as seen from there
};

class ProcessLaunch {
 public:
  explicit ProcessLaunch(const LaunchRequest& request) : request_(request) {}

  // While the host's /proc is still in view: out-of-memory score, security labels for the program;
  // from now on no other process may look into this one, and it has left the keyring of whoever
  // started it.
  Status Protect();

  // With process.terminal: opens one below `root_fd`, sends its master to the parent; with
  // `console` it becomes /dev/console too. Else nothing.
  Status SetUpTerminal(int root_fd, bool console);

  // In the container's root (`root_fd` is it, as "/" is): session, stdio, limits, user namespace,
  // working directory, identity. Afterwards only 0, 1, 2 and the handshake are open.
  Status EnterIdentity(int root_fd, const UserNamespace& user_namespace);

  // Signals as the program expects them, the filter, execve. Returns only to tell why it failed.
  Status Execute();

 private:
  LaunchRequest request_;
  std::optional<Terminal> terminal_;
  std::vector<std::string> environment_;
  uint64_t ignored_signals_ = 0;
};

}  // namespace gantry::runtime
