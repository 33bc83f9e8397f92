// Writes a big file while its content is still being made: whole blocks, in a thread of their own.
// On a slow disk the two take as long as the longer one, not as long as both.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "runtime/base/status.h"

namespace gantry::images {

// Sets O_DIRECT (open(2)) on `fd`, an empty regular file that a BlockWriter is going to write,
// where the file system says that it takes such writes (statx(2), STATX_DIOALIGN, Linux 6.1: ext4,
// xfs, f2fs). False: it does not; the file is written all the same, through the page cache.
bool PassPageCache(int fd);

// One thread fills buffers, the writer's own one writes them. Of system calls it needs pwrite, and
// at the first Write what makes a thread; where none can be made Write does it all.
class BlockWriter {
 public:
  // Of offsets, sizes and memory: what O_DIRECT wants, or more.
  static constexpr size_t kAlignment = 4096;
  static constexpr size_t kBufferBytes = 1 << 20;

  // `fd` is borrowed.
  explicit BlockWriter(int fd) : fd_(fd) {}
  // Waits for the write that is being done; what was given behind it is not written.
  ~BlockWriter();
  BlockWriter(const BlockWriter&) = delete;
  BlockWriter& operator=(const BlockWriter&) = delete;

  // kBufferBytes to fill, the same ones until Write; waits while all others are to be written.
  char* Buffer();
  // The first `size` bytes of it go to `offset` of the file. Both are multiples of kAlignment.
  // Returns what an earlier write failed with (WriteError in layer_rules.h): nothing is written
  // after that.
  Status Write(size_t size, uint64_t offset);
  // Waits until all is written, which makes nothing durable. OK, or what a write failed with.
  Status Finish();

 private:
  // One is filled, one waits, one is written.
  static constexpr size_t kBuffers = 3;

  struct Free {
    void operator()(char* memory) const;
  };
  using Memory = std::unique_ptr<char, Free>;
  struct Piece {
    Memory memory;
    size_t size = 0;
    uint64_t offset = 0;
  };

  // Makes the thread, once. False: there is none, and never will be.
  bool HasThread();
  static void* Run(void* writer);
  void WriteAll();

  const int fd_;
  Memory filling_;
  size_t made_ = 0;  // buffers

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Piece> waiting_;  // the first one is being written
  std::vector<Memory> free_;
  Status failure_;
  bool stop_ = false;

  enum class Thread { kNone, kRuns, kRefused };
  Thread thread_state_ = Thread::kNone;
  pthread_t thread_{};
};

}  // namespace gantry::images
