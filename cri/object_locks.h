// Locks by object id, for sequences of calls that must not overlap. Never held by what answers
// lists or status.
#pragma once

#include <set>
#include <string>

#include "absl/cleanup/cleanup.h"
#include "absl/synchronization/mutex.h"

namespace gantry::cri {

class ObjectLocks {
 public:
  // Waits for whoever holds the id. It is given back when the returned guard goes.
  [[nodiscard]] auto Lock(const std::string& id) {
    {
      absl::MutexLock lock(&mutex_);
      while (held_.count(id) > 0) released_.Wait(&mutex_);
      held_.insert(id);
    }
    return absl::MakeCleanup([this, id] {
      absl::MutexLock lock(&mutex_);
      held_.erase(id);
      released_.SignalAll();
    });
  }

 private:
  absl::Mutex mutex_;
  absl::CondVar released_;
  std::set<std::string> held_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gantry::cri
