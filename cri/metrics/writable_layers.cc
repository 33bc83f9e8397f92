#include "cri/metrics/writable_layers.h"

#include <algorithm>

#include "absl/time/clock.h"

#include "imageservice/live_tree.h"

namespace gantry::cri {
namespace {

constexpr absl::Duration kFreshAtLeast = absl::Seconds(1);
constexpr int kFreshFactor = 20;
constexpr absl::Duration kWalkPatience = absl::Seconds(30);

}  // namespace

WritableLayers::WritableLayers() : thread_([this] { Run(); }) {}

WritableLayers::~WritableLayers() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
    work_.Signal();
  }
  thread_.join();
}

WritableLayers::Entry& WritableLayers::QueueWhenOld(const Layer& layer) {
  Entry& entry = entries_[layer.container_id];
  entry.directory = layer.directory;
  if (entry.queued || !entry.fresh_until.Passed()) return entry;
  entry.queued = true;
  queue_.push_back(layer.container_id);
  work_.Signal();
  return entry;
}

bool WritableLayers::Pending(const std::string& container_id) const {
  const auto found = entries_.find(container_id);
  return found != entries_.end() && !found->second.size && found->second.queued;
}

void WritableLayers::AwaitFirst(const std::vector<Layer>& layers, absl::Duration patience) {
  const Deadline deadline = Deadline::After(patience);
  absl::MutexLock lock(&mutex_);
  for (const Layer& layer : layers) QueueWhenOld(layer);
  for (const Layer& layer : layers)
    while (Pending(layer.container_id))
      if (counted_.WaitWithTimeout(&mutex_, deadline.Left())) return;
}

std::optional<LayerSize> WritableLayers::Find(const Layer& layer) {
  absl::MutexLock lock(&mutex_);
  return QueueWhenOld(layer).size;
}

void WritableLayers::Forget(const std::string& container_id) {
  absl::MutexLock lock(&mutex_);
  entries_.erase(container_id);
}

void WritableLayers::Run() {
  absl::MutexLock lock(&mutex_);
  while (true) {
    while (!ending_ && queue_.empty()) work_.Wait(&mutex_);
    if (ending_) return;
    CountNext();
  }
}

void WritableLayers::CountNext() {
  const std::string id = queue_.front();
  queue_.pop_front();
  const auto known = entries_.find(id);
  if (known == entries_.end()) return;
  const std::string directory = known->second.directory;
  mutex_.Unlock();
  const auto started = Deadline::Clock::now();
  const Deadline bound = Deadline::After(kWalkPatience);
  const auto measured = images::MeasureLiveTree(directory, [this, bound] {
    absl::MutexLock lock(&mutex_);
    return ending_ || bound.Passed();
  });
  const absl::Duration took = absl::FromChrono(Deadline::Clock::now() - started);
  mutex_.Lock();
  counted_.SignalAll();
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  Entry& entry = found->second;
  entry.queued = false;
  entry.fresh_until = Deadline::After(std::max(kFreshAtLeast, kFreshFactor * took));
  if (measured.ok())
    entry.size =
        LayerSize{measured->usage.bytes, measured->usage.inodes, absl::GetCurrentTimeNanos()};
}

}  // namespace gantry::cri
