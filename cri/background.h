// Work that no RPC waits for: a queue and two threads. A task that blocks holds up one other at
// most; tasks have bounds of their own. Any thread may post.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"

namespace gantry::cri {

class Background {
 public:
  explicit Background(int threads = 2) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
  }
  // Finishes what is queued.
  ~Background() {
    {
      absl::MutexLock lock(&mutex_);
      ending_ = true;
      ready_.SignalAll();
    }
    for (std::thread& thread : threads_) thread.join();
  }
  void Post(std::function<void()> task) {
    absl::MutexLock lock(&mutex_);
    tasks_.push_back(std::move(task));
    ready_.Signal();
  }

 private:
  void Run() {
    while (true) {
      std::function<void()> task;
      {
        absl::MutexLock lock(&mutex_);
        while (tasks_.empty() && !ending_) ready_.Wait(&mutex_);
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  absl::Mutex mutex_;
  absl::CondVar ready_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace gantry::cri
