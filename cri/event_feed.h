// What happens to pods and containers, for those who listen (GetContainerEvents): the kubelet's
// evented PLEG.
//
// Every subscriber has a bounded queue of its own; one that does not keep up is dropped and
// counted, and holds up nobody. All see the same order, and times that never fall. Any thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "cri/api.h"
#include "cri/proto/events.pb.h"

namespace gantry::cri {

class EventFeed {
 public:
  using Event = std::shared_ptr<const v1::ContainerEventResponse>;

  class Subscription {
   public:
    explicit Subscription(EventFeed* feed) : feed_(feed) {}
    ~Subscription() { feed_->Unsubscribe(this); }
    Subscription(const Subscription&) = delete;
    Subscription& operator=(const Subscription&) = delete;

    // The next event, in order. nullptr: it was dropped for being slow, or the feed is closed, or
    // `cancelled` (asked every 100 ms) says so.
    Event Next(const std::function<bool()>& cancelled);
    // Whether it was for being slow.
    [[nodiscard]] bool dropped() const;

   private:
    friend class EventFeed;
    EventFeed* feed_;
    std::deque<Event> queue_;  // of the feed's lock, as the next one
    bool dropped_ = false;
  };

  // `limit`: events that a subscriber may be behind.
  explicit EventFeed(size_t limit = 1000) : limit_(limit) {}

  // Hears what is published from now on. The feed outlives it.
  std::unique_ptr<Subscription> Subscribe();
  // Whether anybody listens: nothing need be made for nobody.
  [[nodiscard]] bool HasSubscribers() const;
  // Sets the time of the event, the same or later than that of the one before.
  void Publish(v1::ContainerEventResponse event);
  // Ends all subscriptions: the daemon ends.
  void Close();
  // Subscribers dropped since the start.
  [[nodiscard]] uint64_t dropped() const;

 private:
  void Unsubscribe(Subscription* subscription);

  const size_t limit_;
  mutable absl::Mutex mutex_;
  absl::CondVar changed_;
  std::vector<Subscription*> subscriptions_ ABSL_GUARDED_BY(mutex_);
  int64_t last_time_ns_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t dropped_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace gantry::cri
