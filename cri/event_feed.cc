#include "cri/event_feed.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace gantry::cri {

std::unique_ptr<EventFeed::Subscription> EventFeed::Subscribe() {
  auto subscription = std::make_unique<Subscription>(this);
  absl::MutexLock lock(&mutex_);
  subscriptions_.push_back(subscription.get());
  return subscription;
}

void EventFeed::Unsubscribe(Subscription* subscription) {
  absl::MutexLock lock(&mutex_);
  std::erase(subscriptions_, subscription);
}

bool EventFeed::HasSubscribers() const {
  absl::MutexLock lock(&mutex_);
  return !subscriptions_.empty();
}

void EventFeed::Publish(v1::ContainerEventResponse event) {
  absl::MutexLock lock(&mutex_);
  last_time_ns_ = std::max(last_time_ns_, absl::ToUnixNanos(absl::Now()));
  event.set_created_at(last_time_ns_);
  const Event shared = std::make_shared<const v1::ContainerEventResponse>(std::move(event));
  for (Subscription* subscription : subscriptions_) {
    if (subscription->dropped_) continue;
    if (subscription->queue_.size() >= limit_) {
      subscription->dropped_ = true;
      subscription->queue_.clear();
      ++dropped_;
    } else {
      subscription->queue_.push_back(shared);
    }
  }
  changed_.SignalAll();
}

void EventFeed::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
  changed_.SignalAll();
}

uint64_t EventFeed::dropped() const {
  absl::MutexLock lock(&mutex_);
  return dropped_;
}

EventFeed::Event EventFeed::Subscription::Next(const std::function<bool()>& cancelled) {
  absl::MutexLock lock(&feed_->mutex_);
  while (queue_.empty()) {
    if (dropped_ || feed_->closed_ || cancelled()) return nullptr;
    feed_->changed_.WaitWithTimeout(&feed_->mutex_, absl::Milliseconds(100));
  }
  Event event = std::move(queue_.front());
  queue_.pop_front();
  return event;
}

bool EventFeed::Subscription::dropped() const {
  absl::MutexLock lock(&feed_->mutex_);
  return dropped_;
}

}  // namespace gantry::cri
