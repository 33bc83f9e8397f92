// What layers take on disk, kept as they come and go so that nobody has to walk them.
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "imageservice/tree_walk.h"

namespace gantry::images {

// Any thread.
class DiskUsageCounter {
 public:
  void Add(const TreeUsage& usage) {
    absl::MutexLock lock(&mutex_);
    total_.bytes += usage.bytes;
    total_.inodes += usage.inodes;
  }
  void Subtract(const TreeUsage& usage) {
    absl::MutexLock lock(&mutex_);
    total_.bytes -= usage.bytes;
    total_.inodes -= usage.inodes;
  }
  TreeUsage Total() const {
    absl::MutexLock lock(&mutex_);
    return total_;
  }

 private:
  mutable absl::Mutex mutex_;
  TreeUsage total_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gantry::images
