// Brings a file to its disk while another process still writes it, so that the fsync at its end has
// little left to do.
//
// In a thread of its own: the kernel holds up who starts much writing (writeback throttling, and
// ext4 while its journal is being written), and the process that makes the bytes has better things
// to do.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "runtime/linux/unique_fd.h"

namespace gantry::images {

class WriteBehind {
 public:
  // `file` grows at its end. Nothing here makes anything durable, and no failure counts.
  explicit WriteBehind(UniqueFd file);
  // Waits for a write that is being started, no longer than the disk takes.
  ~WriteBehind();

 private:
  void Run();

  const UniqueFd file_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace gantry::images
