#include "shim/event_queue.h"

namespace gantry::shim {

void EventQueue::Add(proto::Event event) {
  event.set_sequence(++last_sequence_);
  events_.push_back(std::move(event));
  if (listener_) listener_(events_.back());
}

void EventQueue::AddExited(const std::string& container_id, const proto::ExitRecord& exit) {
  proto::Event event;
  event.set_container_id(container_id);
  *event.mutable_exited() = exit;
  Add(std::move(event));
}

void EventQueue::AddOom(const std::string& container_id) {
  for (const proto::Event& event : events_) {
    if (event.oom() && event.container_id() == container_id) return;
  }
  proto::Event event;
  event.set_container_id(container_id);
  event.set_oom(true);
  Add(std::move(event));
}

void EventQueue::AddInitExited() {
  proto::Event event;
  event.set_init_exited(true);
  Add(std::move(event));
}

void EventQueue::Acknowledge(uint64_t sequence) {
  while (!events_.empty() && events_.front().sequence() <= sequence) events_.pop_front();
}

std::deque<proto::Event> EventQueue::Since(uint64_t sequence) const {
  std::deque<proto::Event> result;
  for (const proto::Event& event : events_) {
    if (event.sequence() > sequence) result.push_back(event);
  }
  return result;
}

}  // namespace gantry::shim
