// A further process in a container, with the tree below it.
//
//   Start: own child cgroup of the container's → clone → (execve done) RUNNING → exit → waited for
//   → forgotten
//
// The tree is killed by cgroup.kill of the child cgroup; where none could be made, by walking the
// descendants.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/exec.h"
#include "runtime/linux/cgroup.h"
#include "runtime/linux/unique_fd.h"
#include "runtime/spec/spec.h"
#include "shim/container_process.h"
#include "shim/reaper.h"

namespace gantry::shim {

class ExecProcess {
 public:
  using Done = std::function<void(const Status&)>;

  struct Options {
    std::string id;
    const ContainerProcess* container = nullptr;  // running; used during Start only
    const spec::Process* process = nullptr;
    std::string seccomp_bpf;
    std::vector<UniqueFd> stdio;  // three, or none with a terminal
  };

  // `started`: OK when execve has succeeded; else the child's error, and the exec has ended. Errors
  // of Start itself: it never began, `started` is not called.
  static StatusOr<std::unique_ptr<ExecProcess>> Start(const ShimServices& services,
                                                      const Options& options, Done started);
  explicit ExecProcess(const ShimServices& services) : services_(services) {}
  ExecProcess(const ExecProcess&) = delete;
  ExecProcess& operator=(const ExecProcess&) = delete;

  // SIGKILL to every process of the tree.
  void Kill();
  // `done` is called with the exit code: now, or from the loop.
  void WhenExited(std::function<void(int exit_code)> done);
  // `gone` is called when neither of the two clones is left to reap: now, or from the loop.
  void WhenGone(std::function<void()> gone);
  Status Resize(uint32_t width, uint32_t height);
  // Lets go of the terminal: the kernel hangs it up once nobody else holds its master.
  void HangUp() { terminal_.Reset(); }

  // The child cgroup, for the caller to remove: what the exec left running in the background keeps
  // it.
  [[nodiscard]] const CgroupPaths& cgroup() const { return cgroup_; }
  [[nodiscard]] const std::string& container_id() const { return container_id_; }
  [[nodiscard]] pid_t pid() const { return operation_->pid(); }
  // The pty's master; -1: none.
  [[nodiscard]] int terminal() const { return terminal_.get(); }

 private:
  Status Begin(const Options& options);
  // In a group of its own below the container's, or where the container lets somebody in.
  StatusOr<runtime::ExecOperation> Enter(const ContainerProcess& container,
                                         runtime::ExecRequest request);
  void WatchHandshake();
  void Fail(const Status& status);
  void OnReadable();
  void LearnPid();
  void OnMiddleExit();
  void OnExit(ExitStatus status);
  void FinishExit();
  void CheckGone();

  ShimServices services_;
  std::string id_, container_id_;
  std::optional<runtime::ExecOperation> operation_;
  CgroupPaths cgroup_;  // our own; empty: none
  UniqueFd terminal_;
  EventLoop::Watch watch_;
  Reaper::Child middle_, child_;
  Reaper::OrphanHold hold_;  // until the pid is known
  bool middle_gone_ = false;
  bool killed_ = false;
  std::optional<int> exit_code_;
  Done started_;
  std::vector<std::function<void(int)>> when_exited_;
  std::function<void()> when_gone_;
};

}  // namespace gantry::shim
