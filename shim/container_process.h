// A container in the shim: its init process from clone to exit record.
//
//           Create                Continue                 Start
//   (none) ───────▶ CLONED ────────────────▶ CREATED ───────────────▶ RUNNING
//                     │      set up, log open   │      execve done       │
//                     │                         │                        │
//          init ends  │              init ends, │ or execve fails (128)  │ init ends
//                     ▼                         ▼                        ▼
//                  (draining: the rest is killed, the pump writes what is left, ≤ 10 s) ──▶ EXITED
//
// What fails between Continue and CREATED ends in no state: the container is forgotten, the error
// is the answer.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/create.h"
#include "runtime/linux/cgroup.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/unique_fd.h"
#include "runtime/spec/spec.h"
#include "shim/event_loop.h"
#include "shim/event_queue.h"
#include "shim/journal.h"
#include "shim/oom_watch.h"
#include "shim/pump_handle.h"
#include "shim/reaper.h"
#include "shim/shim.pb.h"

namespace gantry::shim {

// What a container or an exec needs of its shim; all outlive it.
struct ShimServices {
  EventLoop* loop = nullptr;
  Reaper* reaper = nullptr;
  Journal* journal = nullptr;
  PumpHandle* pump = nullptr;
  EventQueue* events = nullptr;
};

struct ContainerOptions {
  std::string id;
  spec::Spec spec;
  std::string seccomp_bpf;
  UniqueFd rootfs;
  std::map<std::string, UniqueFd> mounts;  // runtime::CreateRequest::mounts
  std::string rootfs_mount_point;
  std::map<std::string, int> join_namespaces;  // borrowed for Create
  proto::Cgroup cgroup;
  std::string log_path;  // empty: output is discarded
  bool keep_stdin = false;
};

class ContainerProcess {
 public:
  using Done = std::function<void(const Status&)>;

  // Clones the init, which waits. On failure nothing is left.
  static StatusOr<std::unique_ptr<ContainerProcess>> Create(const ShimServices& services,
                                                            ContainerOptions options);
  explicit ContainerProcess(const ShimServices& services) : services_(services) {}
  ContainerProcess(const ContainerProcess&) = delete;
  ContainerProcess& operator=(const ContainerProcess&) = delete;

  // kFailedPrecondition: not CLONED; `done` is not called. Else `done`: OK: CREATED; an error: the
  // container is finished, the caller calls Abandon.
  Status Continue(Done done);
  // OK: execve has succeeded. An error of execve itself: EXITED with 128 follows.
  // kFailedPrecondition: not CREATED.
  void Start(Done done);
  // OK, too, when the init has ended.
  Status Signal(int signal);
  // SIGKILL to the init and to whatever else lives in the container's cgroup.
  void Kill();
  // kFailedPrecondition: the container has ended.
  void ReopenLog(Done done);
  Status Resize(uint32_t width, uint32_t height);
  // Of those that were asked for: a copy of stdin's write end (invalid when there is no stdin;
  // with a terminal its master), read ends of what stdout and stderr (with a terminal: stdout
  // alone) say from now on. kFailedPrecondition: not yet set up, or ended.
  struct Attachment {
    UniqueFd in, out, err;
  };
  StatusOr<Attachment> Attach(const proto::Attach& wanted);
  // The container reads the end of its stdin once all copies are closed. With a terminal: nothing.
  void CloseStdin() { stdin_.Reset(); }
  // `done` is called once the exit record exists: now, or from the loop.
  void WhenExited(std::function<void()> done);
  // Kills it; no event and no record will tell of it. `gone` is called once the init has been
  // reaped and the log is closed.
  void Abandon(std::function<void()> gone);

  [[nodiscard]] const std::string& id() const { return id_; }
  [[nodiscard]] proto::ContainerState State() const;
  [[nodiscard]] bool running() const { return phase_ == Phase::kRunning && !init_exit_; }
  [[nodiscard]] bool exited() const { return phase_ == Phase::kExited; }
  [[nodiscard]] bool init_alive() const { return !init_exit_; }
  [[nodiscard]] pid_t pid() const { return creation_->pid(); }
  [[nodiscard]] int pidfd() const { return creation_->pidfd(); }
  [[nodiscard]] uint64_t start_time() const { return start_time_; }
  [[nodiscard]] const CgroupPaths& cgroup() const { return cgroup_; }

 private:
  enum class Phase { kCloned, kSettingUp, kCreated, kStarting, kRunning, kExited };

  // The container's 0, 1, 2 and our ends of them.
  struct Stdio {
    UniqueFd child[3];
    UniqueFd in, out, err;
  };
  Status MakeStdio(const ContainerOptions& options, Stdio* stdio);
  Status Begin(const ContainerOptions& options, const Stdio& stdio);
  void OpenLog(UniqueFd out, UniqueFd err);
  void WatchHandshake();
  void OnHandshake();
  void OnSetUp();
  void OnStarted();
  void CheckCreated();
  void FailContinue(const Status& status);
  void OnExit(ExitStatus status);
  void KillRest();
  void FinishLog();
  void Publish(bool log_incomplete);

  ShimServices services_;
  std::string id_;
  Phase phase_ = Phase::kCloned;
  std::optional<runtime::Creation> creation_;
  uint64_t start_time_ = 0;
  int64_t started_at_ns_ = 0;
  CgroupPaths cgroup_;
  std::string oom_file_;
  std::unique_ptr<OomWatch> oom_;

  std::string log_path_;
  uint32_t log_ = 0;  // 0: none
  std::optional<Status> log_opened_;
  UniqueFd stdin_;     // write end kept for attach
  UniqueFd terminal_;  // pty master

  EventLoop::Watch handshake_watch_;
  Reaper::Child child_;
  bool set_up_ = false;
  bool start_failed_ = false;
  bool abandoned_ = false;
  std::optional<ExitStatus> init_exit_;
  proto::ExitRecord exit_;

  Done continued_, started_;
  std::vector<std::function<void()>> when_exited_;
  std::function<void()> gone_;
};

}  // namespace gantry::shim
