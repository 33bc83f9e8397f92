#include "shim/event_loop.h"

#include <sys/epoll.h>
#include <time.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"

namespace gantry::shim {
namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;

int64_t MonotonicNow() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * kNsPerSecond + now.tv_nsec;
}

}  // namespace

EventLoop::Watch& EventLoop::Watch::operator=(Watch&& other) noexcept {
  if (this == &other) return *this;
  Reset();
  loop_ = std::exchange(other.loop_, nullptr);
  id_ = other.id_;
  fd_ = other.fd_;
  return *this;
}

void EventLoop::Watch::Reset() {
  if (loop_ == nullptr) return;
  epoll_ctl(loop_->epoll_.get(), EPOLL_CTL_DEL, fd_, nullptr);
  loop_->watches_.erase(id_);
  loop_ = nullptr;
}

void EventLoop::Watch::SetEvents(uint32_t events) {
  if (loop_ == nullptr) return;
  epoll_event event{.events = events, .data = {.u64 = id_}};
  epoll_ctl(loop_->epoll_.get(), EPOLL_CTL_MOD, fd_, &event);
}

EventLoop::Timer& EventLoop::Timer::operator=(Timer&& other) noexcept {
  if (this == &other) return *this;
  Reset();
  loop_ = std::exchange(other.loop_, nullptr);
  key_ = other.key_;
  return *this;
}

void EventLoop::Timer::Reset() {
  if (loop_ == nullptr) return;
  loop_->timers_.erase(key_);
  loop_ = nullptr;
}

StatusOr<std::unique_ptr<EventLoop>> EventLoop::Create() {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return SyscallError("epoll_create1");
  return std::make_unique<EventLoop>(std::move(epoll));
}

StatusOr<EventLoop::Watch> EventLoop::Add(int fd, uint32_t events, FdCallback callback) {
  Watch watch;
  watch.id_ = next_id_++;
  watch.fd_ = fd;
  epoll_event event{.events = events, .data = {.u64 = watch.id_}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return SyscallError("epoll_ctl", absl::StrCat("descriptor ", fd));
  }
  watches_[watch.id_] = std::make_shared<FdCallback>(std::move(callback));
  watch.loop_ = this;
  return watch;
}

EventLoop::Timer EventLoop::After(absl::Duration delay, TimerCallback callback) {
  Timer timer;
  timer.loop_ = this;
  timer.key_ = {MonotonicNow() + absl::ToInt64Nanoseconds(delay), next_id_++};
  timers_[timer.key_] = std::move(callback);
  return timer;
}

std::optional<timespec> EventLoop::NextTimeout() const {
  if (timers_.empty()) return std::nullopt;
  const int64_t wait = std::max<int64_t>(timers_.begin()->first.first - MonotonicNow(), 0);
  return timespec{.tv_sec = wait / kNsPerSecond, .tv_nsec = wait % kNsPerSecond};
}

void EventLoop::RunTimers() {
  const int64_t now = MonotonicNow();
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    // Taken out first: the callback may set or cancel timers.
    TimerCallback callback = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    callback();
  }
}

Status EventLoop::Run() {
  epoll_event events[16];
  while (!quit_) {
    const auto timeout = NextTimeout();
    const int count =
        epoll_pwait2(epoll_.get(), events, 16, timeout ? &*timeout : nullptr, nullptr);
    if (count < 0 && errno != EINTR) return SyscallError("epoll_pwait2");
    for (int i = 0; i < count && !quit_; ++i) {
      auto it = watches_.find(events[i].data.u64);
      if (it == watches_.end()) continue;
      std::shared_ptr<FdCallback> callback = it->second;
      (*callback)(events[i].events);
    }
    RunTimers();
  }
  return absl::OkStatus();
}

}  // namespace gantry::shim
