#include "cri/create_operations.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace gantry::cri {

CreateOperations::~CreateOperations() {
  absl::MutexLock lock(&mutex_);
  while (running_ > 0) finished_.Wait(&mutex_);
}

StatusOr<std::string> CreateOperations::Run(const std::string& name, Work work,
                                            const std::function<bool()>& cancelled,
                                            absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<Operation>& slot = operations_[name];
  if (slot == nullptr) {
    slot = std::make_shared<Operation>();
    slot->work = std::move(work);
    ++running_;
    // Detached, but the destructor waits for it: nothing that it uses goes before.
    std::thread([this, name, operation = slot] { Execute(name, operation); }).detach();
  }
  const std::shared_ptr<Operation> operation = slot;
  return Await(name, operation, cancelled, deadline);
}

void CreateOperations::Execute(const std::string& name,
                               const std::shared_ptr<Operation>& operation) {
  StatusOr<std::string> result = operation->work.run();
  absl::MutexLock lock(&mutex_);
  operation->result = std::move(result);
  operation->done = true;
  operation->kept_until = Deadline::After(keep_);
  // Only a success that nobody waits for is kept; a retry after a failure tries anew.
  if (!operation->result.ok()) Forget(name, operation);
  --running_;
  finished_.SignalAll();
}

StatusOr<std::string> CreateOperations::Await(const std::string& name,
                                              const std::shared_ptr<Operation>& operation,
                                              const std::function<bool()>& cancelled,
                                              absl::Time deadline) {
  ++operation->waiters;
  while (!operation->done) {
    if (cancelled()) {
      --operation->waiters;
      const std::string text = absl::StrCat("\"", name, "\" is still being made; a retry joins it");
      return absl::Now() >= deadline ? absl::DeadlineExceededError(text)
                                     : absl::CancelledError(text);
    }
    finished_.WaitWithTimeout(&mutex_, absl::Milliseconds(50));
  }
  --operation->waiters;
  if (operation->result.ok()) {
    operation->work.claim(*operation->result);
    Forget(name, operation);
  }
  return operation->result;
}

void CreateOperations::Forget(const std::string& name,
                              const std::shared_ptr<Operation>& operation) {
  const auto found = operations_.find(name);
  if (found != operations_.end() && found->second == operation) operations_.erase(found);
}

void CreateOperations::Sweep() {
  std::vector<std::shared_ptr<Operation>> stale;
  {
    absl::MutexLock lock(&mutex_);
    for (auto it = operations_.begin(); it != operations_.end();) {
      Operation& operation = *it->second;
      const bool expired =
          operation.done && operation.waiters == 0 && operation.kept_until.Passed();
      if (expired) stale.push_back(it->second);
      it = expired ? operations_.erase(it) : std::next(it);
    }
  }
  for (const auto& operation : stale) operation->work.undo(*operation->result);
}

}  // namespace gantry::cri
