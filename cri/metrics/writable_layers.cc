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
  if (entry.queued || absl::Now() < entry.old_at) return entry;
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
  const absl::Time deadline = absl::Now() + patience;
  absl::MutexLock lock(&mutex_);
  for (const Layer& layer : layers) QueueWhenOld(layer);
  for (const Layer& layer : layers)
    while (Pending(layer.container_id))
      if (counted_.WaitWithDeadline(&mutex_, deadline)) return;
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
  const absl::Time started = absl::Now();
  const auto measured = images::MeasureLiveTree(directory, [this, started] {
    absl::MutexLock lock(&mutex_);
    return ending_ || absl::Now() - started > kWalkPatience;
  });
  const absl::Time now = absl::Now();
  mutex_.Lock();
  counted_.SignalAll();
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  Entry& entry = found->second;
  entry.queued = false;
  entry.old_at = now + std::max(kFreshAtLeast, kFreshFactor * (now - started));
  if (measured.ok())
    entry.size = LayerSize{measured->usage.bytes, measured->usage.inodes, absl::ToUnixNanos(now)};
}

}  // namespace gantry::cri
