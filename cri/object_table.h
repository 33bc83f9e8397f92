// The daemon's objects of one kind: immutable snapshots by id, swapped under a short lock. Readers
// get a pointer and need no lock; nobody does I/O under it. Any thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace gantry::cri {

template <typename T>
class ObjectTable {
 public:
  using Pointer = std::shared_ptr<const T>;

  // nullptr when there is none.
  Pointer Find(const std::string& id) const {
    absl::MutexLock lock(&mutex_);
    const auto found = objects_.find(id);
    return found == objects_.end() ? nullptr : found->second;
  }

  // By id or by a prefix of it that only one object has; nullptr otherwise.
  Pointer FindByPrefix(const std::string& prefix) const {
    if (prefix.empty()) return nullptr;
    absl::MutexLock lock(&mutex_);
    const auto found = objects_.lower_bound(prefix);
    if (found == objects_.end() || !absl::StartsWith(found->first, prefix)) return nullptr;
    const auto next = std::next(found);
    const bool unique =
        found->first == prefix || next == objects_.end() || !absl::StartsWith(next->first, prefix);
    return unique ? found->second : nullptr;
  }

  // All of them, by id.
  std::vector<Pointer> List() const {
    absl::MutexLock lock(&mutex_);
    std::vector<Pointer> all;
    all.reserve(objects_.size());
    for (const auto& [id, object] : objects_) all.push_back(object);
    return all;
  }

  void Insert(const std::string& id, T value) {
    auto object = std::make_shared<const T>(std::move(value));
    absl::MutexLock lock(&mutex_);
    objects_[id] = std::move(object);
    changed_.SignalAll();
  }

  // Replaces the snapshot by a copy that `change` has been over. Returns the new one; nullptr when
  // there is no such object.
  Pointer Update(const std::string& id, const std::function<void(T&)>& change) {
    absl::MutexLock lock(&mutex_);
    const auto found = objects_.find(id);
    if (found == objects_.end()) return nullptr;
    T copy = *found->second;
    change(copy);
    found->second = std::make_shared<const T>(std::move(copy));
    changed_.SignalAll();
    return found->second;
  }

  void Erase(const std::string& id) {
    absl::MutexLock lock(&mutex_);
    objects_.erase(id);
    changed_.SignalAll();
  }

  // Waits until the object is gone or `done` says so of it, `deadline` has passed, or `cancelled`
  // (asked every 50 ms) says so. True in the first case.
  bool WaitUntil(const std::string& id, const std::function<bool(const T&)>& done,
                 absl::Time deadline, const std::function<bool()>& cancelled) const {
    absl::MutexLock lock(&mutex_);
    while (true) {
      const auto found = objects_.find(id);
      if (found == objects_.end() || done(*found->second)) return true;
      const absl::Time now = absl::Now();
      if (now >= deadline || (cancelled && cancelled())) return false;
      changed_.WaitWithDeadline(&mutex_, std::min(deadline, now + absl::Milliseconds(50)));
    }
  }

 private:
  mutable absl::Mutex mutex_;
  mutable absl::CondVar changed_;
  std::map<std::string, Pointer> objects_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gantry::cri
