// The loop of the single-threaded processes of this folder: epoll(7), timers of nanoseconds on the
// monotonic clock.
//
// A callback may destroy any Watch or Timer, its own included; it must not block.
#pragma once

#include <time.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/time/time.h"

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::shim {

class EventLoop {
 public:
  using FdCallback = std::function<void(uint32_t events)>;
  using TimerCallback = std::function<void()>;

  // A registered descriptor; destroying it ends the registration, which must happen before the
  // descriptor is closed (a copy elsewhere would keep it alive in the epoll set).
  class Watch {
   public:
    Watch() = default;
    Watch(Watch&& other) noexcept { *this = std::move(other); }
    Watch& operator=(Watch&& other) noexcept;
    ~Watch() { Reset(); }
    void Reset();
    // Changes the set of events waited for.
    void SetEvents(uint32_t events);
    [[nodiscard]] bool active() const { return loop_ != nullptr; }

   private:
    friend class EventLoop;
    EventLoop* loop_ = nullptr;
    uint64_t id_ = 0;
    int fd_ = -1;
  };

  // A timer; destroying it cancels it.
  class Timer {
   public:
    Timer() = default;
    Timer(Timer&& other) noexcept { *this = std::move(other); }
    Timer& operator=(Timer&& other) noexcept;
    ~Timer() { Reset(); }
    void Reset();

   private:
    friend class EventLoop;
    EventLoop* loop_ = nullptr;
    std::pair<int64_t, uint64_t> key_;  // due time (monotonic ns), id
  };

  static StatusOr<std::unique_ptr<EventLoop>> Create();
  explicit EventLoop(UniqueFd epoll) : epoll_(std::move(epoll)) {}  // by Create
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // `events` as epoll_ctl(2), level-triggered. kInternal: epoll_ctl failed.
  StatusOr<Watch> Add(int fd, uint32_t events, FdCallback callback);
  // Once, from Run, never from within After.
  [[nodiscard]] Timer After(absl::Duration delay, TimerCallback callback);

  // Serves until Quit. kInternal: epoll_pwait2(2), Linux 5.11, failed.
  Status Run();
  void Quit() { quit_ = true; }

 private:
  void RunTimers();
  // Until the first timer; nothing: there is none.
  [[nodiscard]] std::optional<timespec> NextTimeout() const;

  UniqueFd epoll_;
  bool quit_ = false;
  uint64_t next_id_ = 1;
  // Shared, so that a callback that ends its own registration stays alive while it runs.
  std::map<uint64_t, std::shared_ptr<FdCallback>> watches_;
  std::map<std::pair<int64_t, uint64_t>, TimerCallback> timers_;
};

}  // namespace gantry::shim
