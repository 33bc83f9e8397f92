// Deleting big trees without making anybody wait: a rename at once, the unlinking by a thread.
#pragma once

#include <atomic>
#include <deque>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "imageservice/disk_usage.h"
#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

// Any thread.
class Trash {
 public:
  // `directory`: where doomed trees wait, on the same file system; what is in it already is the
  // caller's business. `counter`: loses a tree's usage once it is gone; outlives the trash.
  static StatusOr<std::unique_ptr<Trash>> Open(const std::string& directory,
                                               DiskUsageCounter* counter);
  ~Trash();  // finishes the tree in progress and leaves the others

  // Renames `path` into the directory and queues it. OK when there is nothing of that name.
  Status Throw(const std::string& path, const TreeUsage& usage);
  // Returns once everything thrown before is gone.
  void Flush();

 private:
  struct Item {
    std::string name;
    TreeUsage usage;
  };
  Trash(UniqueFd directory, DiskUsageCounter* counter);
  void Run();

  const UniqueFd directory_;
  DiskUsageCounter* const counter_;
  std::atomic<uint64_t> next_{0};
  absl::Mutex mutex_;
  std::deque<Item> queue_ ABSL_GUARDED_BY(mutex_);
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace gantry::images
