// The shim's events: numbered without gaps, kept until gantryd has acknowledged them, so that a
// daemon that was away misses nothing.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <utility>

#include "shim/shim.pb.h"

namespace gantry::shim {

class EventQueue {
 public:
  // Called with every new event; set while gantryd is connected.
  void SetListener(std::function<void(const proto::Event&)> listener) {
    listener_ = std::move(listener);
  }

  void AddExited(const std::string& container_id, const proto::ExitRecord& exit);
  // Dropped while an unacknowledged one of the same container is queued: that bounds the queue.
  void AddOom(const std::string& container_id);
  void AddInitExited();

  void Acknowledge(uint64_t sequence);
  // The kept events with a number above `sequence`, in order.
  [[nodiscard]] std::deque<proto::Event> Since(uint64_t sequence) const;
  [[nodiscard]] uint64_t last_sequence() const { return last_sequence_; }

 private:
  void Add(proto::Event event);

  uint64_t last_sequence_ = 0;
  std::deque<proto::Event> events_;
  std::function<void(const proto::Event&)> listener_;
};

}  // namespace gantry::shim
