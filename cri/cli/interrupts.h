// Ctrl-C and SIGTERM as events instead of death.
#pragma once

#include <grpcpp/grpcpp.h>

#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "runtime/linux/unique_fd.h"

namespace gantry::cli {

inline constexpr int kInterrupted = 130;  // the exit code that shells show after Ctrl-C

// From construction on SIGINT, SIGTERM and SIGHUP are counted, and SIGPIPE is ignored. Construct it
// before other threads are started: it blocks the signals in the calling thread, and theirs with
// it.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  [[nodiscard]] int count() const;
  // As if a signal had come.
  void Raise();
  // Readable from a signal on until Clear.
  [[nodiscard]] int fd() const { return event_.get(); }
  void Clear() const;

  // The call that the next signal cancels (at once when one has come already); nullptr: none.
  void CancelOnSignal(grpc::ClientContext* context);

 private:
  void Watch();

  UniqueFd signals_;
  UniqueFd event_;
  UniqueFd stop_;
  mutable absl::Mutex mutex_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace gantry::cli
