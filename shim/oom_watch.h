// Tells when the OOM killer has been at work in a cgroup.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"
#include "shim/event_loop.h"

namespace gantry::shim {

// Watches the counter "oom_kill" of memory.events (v2: the file polls EPOLLPRI) or
// memory.oom_control (v1: an eventfd registered in cgroup.event_control).
class OomWatch {
 public:
  // `on_oom` is called from the loop each time the counter has risen. Errors: the file cannot be
  // read or watched.
  static StatusOr<std::unique_ptr<OomWatch>> Create(EventLoop* loop, const std::string& oom_file,
                                                    std::function<void()> on_oom);
  OomWatch(EventLoop* loop, std::string oom_file, std::function<void()> on_oom)
      : loop_(loop), oom_file_(std::move(oom_file)), on_oom_(std::move(on_oom)) {}

  // Whether the counter has risen since Create. Reads it anew.
  bool HasRisen();

 private:
  Status WatchV1(const std::string& directory);
  Status WatchV2();
  void OnEvent();
  void Check();

  EventLoop* loop_;
  std::string oom_file_;
  std::function<void()> on_oom_;
  uint64_t baseline_ = 0;
  uint64_t last_ = 0;
  UniqueFd file_;   // v2: what is polled
  UniqueFd event_;  // v1: eventfd
  EventLoop::Watch watch_;
  EventLoop::Timer later_;
};

}  // namespace gantry::shim
