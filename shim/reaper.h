// Waits for the shim's children: its own, and orphans of containers without a PID namespace of
// their own, which fall to it as their subreaper.
//
// Every end of a child arrives as SIGCHLD on a signalfd (all clones here have that exit signal), so
// nothing has to be kept open per child. A pid cannot be recycled before it has been waited for
// here.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "runtime/base/status.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/unique_fd.h"
#include "shim/event_loop.h"

namespace gantry::shim {

class Reaper {
 public:
  using ExitCallback = std::function<void(ExitStatus)>;

  // While one lives, children that nobody watches are left as zombies: one of them may be the
  // process of an exec whose pid is not known yet.
  class OrphanHold {
   public:
    OrphanHold() = default;
    OrphanHold(OrphanHold&& other) noexcept : reaper_(std::exchange(other.reaper_, nullptr)) {}
    OrphanHold& operator=(OrphanHold&& other) noexcept;
    ~OrphanHold() { Reset(); }
    void Reset();

   private:
    friend class Reaper;
    Reaper* reaper_ = nullptr;
  };

  // A child that is waited for; destroying it makes the child one that nobody watches.
  class Child {
   public:
    Child() = default;
    Child(Child&& other) noexcept { *this = std::move(other); }
    Child& operator=(Child&& other) noexcept;
    ~Child() { Reset(); }
    void Reset();
    [[nodiscard]] bool active() const { return reaper_ != nullptr; }

   private:
    friend class Reaper;
    Reaper* reaper_ = nullptr;
    pid_t pid_ = -1;
    uint64_t number_ = 0;
  };

  // SIGCHLD must be blocked.
  static StatusOr<std::unique_ptr<Reaper>> Create(EventLoop* loop);
  Reaper(EventLoop* loop, UniqueFd signals) : loop_(loop), signals_(std::move(signals)) {}
  Reaper(const Reaper&) = delete;
  Reaper& operator=(const Reaper&) = delete;

  // `callback` is called once, from the loop, when the child has ended and been reaped.
  [[nodiscard]] Child Watch(pid_t pid, ExitCallback callback);
  [[nodiscard]] OrphanHold HoldOrphans();

 private:
  void OnSignal();
  void Reap();
  bool ReapOne(int id_type, pid_t pid);

  EventLoop* loop_;
  UniqueFd signals_;
  EventLoop::Watch watch_;
  EventLoop::Timer again_;
  // A pid may be another child's before its first watcher has gone: the number tells them apart.
  struct Watched {
    uint64_t number = 0;
    ExitCallback callback;
  };
  std::map<pid_t, Watched> children_;
  uint64_t last_number_ = 0;
  int holds_ = 0;
};

}  // namespace gantry::shim
