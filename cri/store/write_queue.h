// The one thread that writes to the database. What waits in the queue when it wakes is committed
// together: a hundred pods that start at once cost a few commits.
#pragma once

#include <deque>
#include <functional>
#include <future>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "cri/store/sqlite.h"

namespace gantry::cri {

class WriteQueue {
 public:
  // Runs on the writer's thread inside a transaction; may run twice (when another operation of its
  // batch failed), so it must only touch the database.
  using Operation = std::function<Status(sqlite3*)>;

  explicit WriteQueue(SqliteConnection database);
  // Waits until everything queued is committed.
  ~WriteQueue();
  WriteQueue(const WriteQueue&) = delete;
  WriteQueue& operator=(const WriteQueue&) = delete;

  // From any thread; operations take effect in the order of the calls. The future is ready when the
  // operation is committed, or with its error, the operation then being undone alone. Waits while
  // the queue is full.
  std::future<Status> Submit(Operation operation);

 private:
  struct Entry {
    Operation operation;
    std::promise<Status> done;
  };

  void Run();
  std::vector<Entry> NextBatch();
  bool CommitTogether(std::vector<Entry>& batch);
  Status CommitAlone(const Operation& operation);

  SqliteConnection database_;
  absl::Mutex mutex_;
  std::deque<Entry> entries_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace gantry::cri
