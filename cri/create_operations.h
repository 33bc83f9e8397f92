// RunPodSandbox and CreateContainer as operations: the work belongs to the operation, never to the
// RPC that asked for it.
//
//   first call ──▶ operation (own thread) ──▶ result ──▶ somebody waits: claimed, and forgotten
//   a retry of the same name joins it                └──▶ nobody waits: kept for a retry two
//                                                         minutes, then undone
//
// Whoever waits sees its own cancellation and deadline; the work goes on. Any thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "runtime/base/deadline.h"
#include "runtime/base/status.h"

namespace gantry::cri {

class CreateOperations {
 public:
  struct Work {
    std::function<StatusOr<std::string>()> run;        // returns the new object's id
    std::function<void(const std::string& id)> claim;  // the caller has it
    std::function<void(const std::string& id)> undo;   // nobody came for it
  };

  explicit CreateOperations(absl::Duration keep = absl::Minutes(2)) : keep_(keep) {}
  // Waits for what is in flight.
  ~CreateOperations();

  // Starts the work, or joins the operation of that name, and waits. When `cancelled` says so first
  // (asked every 50 ms): kDeadlineExceeded after `deadline`, else kCancelled; the work goes on.
  StatusOr<std::string> Run(const std::string& name, Work work,
                            const std::function<bool()>& cancelled, absl::Time deadline);

  // Undoes results that nobody has claimed in time. Called once in a while.
  void Sweep();

 private:
  struct Operation {
    Work work;
    bool done = false;
    StatusOr<std::string> result = absl::UnknownError("not done");
    Deadline kept_until = Deadline::Never();  // once it is done
    int waiters = 0;
  };
  void Execute(const std::string& name, const std::shared_ptr<Operation>& operation);
  void Forget(const std::string& name, const std::shared_ptr<Operation>& operation)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  StatusOr<std::string> Await(const std::string& name, const std::shared_ptr<Operation>& operation,
                              const std::function<bool()>& cancelled, absl::Time deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const absl::Duration keep_;
  absl::Mutex mutex_;
  absl::CondVar finished_;
  std::map<std::string, std::shared_ptr<Operation>> operations_ ABSL_GUARDED_BY(mutex_);
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace gantry::cri
