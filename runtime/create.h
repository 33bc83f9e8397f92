// The life of a container's init process, as operations: something started, a descriptor to poll, a
// step to take when it is readable, a way to give up. The shim drives them from its event loop;
// gantry-oci wraps them in a loop.
//
//   parent (shim)                              child (container_init.h)
//   Creation::Begin: clone3  ────────────────▶ waits
//   … the caller places it where birth could not …
//   Continue()               ── CONTINUE ────▶ namespaces, rootfs, mounts, identity, seccomp
//   OnReadable → kCreated    ◀─ READY ───────  waits
//   Start()                  ── START ───────▶ execve
//   OnReadable → kRunning    ◀─ end of file (close-on-exec)
//   OnReadable → error       ◀─ ERROR(status)  its first error, verbatim; the child exits with 1
//
// Single-threaded callers only: the child is a plain fork of the caller.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"
#include "runtime/spec/spec.h"

namespace gantry::runtime {

// Everything is borrowed for the time of the call.
struct CreateRequest {
  const spec::Spec* spec = nullptr;
  // Detached mount of the root file system; -1: spec->root.path is bind-mounted.
  int rootfs_fd = -1;
  // Empty host directory on which the child, in its own mount namespace, attaches the root file
  // system.
  std::string rootfs_mount_point;
  // Namespaces to join, by spec type ("network", "ipc", "uts", "pid", "user"), whatever path the
  // spec gives.
  std::map<std::string, int> join_namespaces;
  // Bind mounts of the spec, by destination, whose sources are these detached mounts.
  std::map<std::string, int> mounts;
  // Cgroup v2 directory to be born in (CLONE_INTO_CGROUP); -1: the caller places the child.
  int cgroup_fd = -1;
  // Cgroup v1 directories, one of each hierarchy, which the child enters first of all after
  // Continue.
  std::vector<std::string> v1_cgroup_dirs;
  // The child's 0, 1, 2. With process.terminal they are ignored.
  int stdio[3] = {-1, -1, -1};
  // Compiled filter (array of struct sock_filter); empty: none. Stands in for spec->linux_.seccomp.
  std::string seccomp_bpf;
};

// A container whose init exists.
class Creation {
 public:
  enum class Step { kPending, kCreated, kRunning };

  // Clones the child; it waits for Continue(). The namespaces that must exist from birth are made
  // here.
  static StatusOr<Creation> Begin(const CreateRequest& request);
  Creation(Creation&&) = default;
  Creation& operator=(Creation&&) = default;
  ~Creation() = default;  // closing the handshake makes a child that has not been started exit

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  // Readable when OnReadable has something to read; -1 once running or failed.
  [[nodiscard]] int poll_fd() const { return handshake_.get(); }

  Status Continue();
  Status Start();
  // Never blocks. An error is the child's own; the child is then exiting, and the caller reaps it
  // by pidfd.
  StatusOr<Step> OnReadable();

  // With process.terminal: the pty's master, received before kCreated. Once.
  [[nodiscard]] UniqueFd TakeTerminal() { return std::move(terminal_); }

 private:
  Creation() = default;
  pid_t pid_ = -1;
  UniqueFd pidfd_;
  UniqueFd handshake_;
  UniqueFd terminal_;
  bool started_ = false;
};

}  // namespace gantry::runtime
