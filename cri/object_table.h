// The daemon's objects of one kind: immutable snapshots by id, swapped under a short lock. Readers
// get a pointer and need no lock; nobody does I/O under it. Any thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "runtime/base/deadline.h"
#include "runtime/base/status.h"

namespace gantry::cri {

template <typename T>
class ObjectTable {
 public:
  using Pointer = std::shared_ptr<const T>;

  // nullptr when there is none.
  Pointer Find(const std::string& id) const {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(id);
    return found == objects_.end() ? nullptr : found->second;
  }

  // By id or by a prefix of it; nullptr when there is none. kInvalidArgument: several begin so.
  StatusOr<Pointer> FindByPrefix(const std::string& prefix) const {
    if (prefix.empty()) return Pointer();
    const std::lock_guard lock(mutex_);
    const auto found = objects_.lower_bound(prefix);
    if (found == objects_.end() || !absl::StartsWith(found->first, prefix)) return Pointer();
    const auto next = std::next(found);
    if (found->first != prefix && next != objects_.end() && absl::StartsWith(next->first, prefix))
      return absl::InvalidArgumentError(
          absl::StrCat("\"", prefix, "\" is the beginning of more than one ID"));
    return found->second;
  }

  // All of them, by id.
  std::vector<Pointer> List() const {
    const std::lock_guard lock(mutex_);
    std::vector<Pointer> all;
    all.reserve(objects_.size());
    for (const auto& [id, object] : objects_) all.push_back(object);
    return all;
  }

  void Insert(const std::string& id, T value) {
    auto object = std::make_shared<const T>(std::move(value));
    const std::lock_guard lock(mutex_);
    objects_[id] = std::move(object);
    changed_.notify_all();
  }

  // Replaces the snapshot by a copy that `change` has been over. Returns the new one; nullptr when
  // there is no such object.
  Pointer Update(const std::string& id, const std::function<void(T&)>& change) {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(id);
    if (found == objects_.end()) return nullptr;
    T copy = *found->second;
    change(copy);
    found->second = std::make_shared<const T>(std::move(copy));
    changed_.notify_all();
    return found->second;
  }

  void Erase(const std::string& id) {
    const std::lock_guard lock(mutex_);
    objects_.erase(id);
    changed_.notify_all();
  }

  // Waits until the object is gone or `done` says so of it, `deadline` has passed, or `cancelled`
  // (asked every 50 ms) says so. True in the first case.
  bool WaitUntil(const std::string& id, const std::function<bool(const T&)>& done,
                 const Deadline& deadline, const std::function<bool()>& cancelled) const {
    constexpr std::chrono::milliseconds kLook{50};
    std::unique_lock lock(mutex_);
    while (true) {
      const auto found = objects_.find(id);
      if (found == objects_.end() || done(*found->second)) return true;
      if (deadline.Passed() || (cancelled && cancelled())) return false;
      changed_.wait_until(lock, std::min(deadline.at(), Deadline::Clock::now() + kLook));
    }
  }

 private:
  // Not absl's: its waits go by the wall clock.
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::map<std::string, Pointer> objects_;  // guarded by mutex_
};

}  // namespace gantry::cri
