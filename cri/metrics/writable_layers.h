// What containers have written on top of their images: bytes and inodes, counted by a thread of its
// own and kept. Nobody who asks waits for a walk over a large tree.
//
// A count is old after twenty times the time that it took, a second at least: asking often costs no
// more than a twentieth of a CPU for each container. Only containers that are asked for are
// counted.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "runtime/base/deadline.h"

namespace gantry::cri {

struct LayerSize {
  uint64_t bytes = 0, inodes = 0;  // at least these, when a tree is too large to be counted
  int64_t counted_at_ns = 0;       // wall clock
};

// Any thread.
class WritableLayers {
 public:
  WritableLayers();
  ~WritableLayers();

  struct Layer {
    std::string container_id;
    std::string directory;
  };
  // Waits until each of the layers has been counted once, or `patience` is over.
  void AwaitFirst(const std::vector<Layer>& layers, absl::Duration patience);
  // The last count, and has a new one made when it is old. Unset: not counted yet.
  std::optional<LayerSize> Find(const Layer& layer);
  void Forget(const std::string& container_id);

 private:
  struct Entry {
    std::string directory;
    std::optional<LayerSize> size;
    Deadline fresh_until = Deadline::After(absl::ZeroDuration());
    bool queued = false;
  };
  void Run();
  // Of the front of the queue; the lock is not held while it counts.
  void CountNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Entry& QueueWhenOld(const Layer& layer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] bool Pending(const std::string& container_id) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  absl::CondVar work_, counted_;
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);  // by container
  std::deque<std::string> queue_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace gantry::cri
