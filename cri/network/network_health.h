// What a network's plugins say of themselves (CNI STATUS, 1.1.0), asked now and then by a thread of
// its own, so that whoever wants to know never waits for a plugin.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "cri/network/conf_directory.h"
#include "runtime/base/deadline.h"
#include "runtime/base/status.h"

namespace gantry::cri {

class NetworkHealth {
 public:
  struct Options {
    absl::Duration period = absl::Seconds(5);
    absl::Duration grace = absl::Seconds(10);  // a network that was well stays so for as long
  };
  using Config = std::shared_ptr<const CniConfig>;

  // `ask` runs STATUS, with a bound of its own; `ready` is called after each time that all was
  // well, and when there is nothing to ask. Both from the thread alone, never after the destructor
  // has returned.
  NetworkHealth(const ConfDirectory* configs, Options options,
                std::function<Status(const CniConfig&)> ask,
                std::function<void(const CniConfig&)> ready);
  ~NetworkHealth();
  NetworkHealth(const NetworkHealth&) = delete;
  NetworkHealth& operator=(const NetworkHealth&) = delete;

  // OK for a configuration whose version has no STATUS. kUnavailable with the plugin's words, or
  // when it has not been answered yet.
  Status Of(const CniConfig& config) const;

 private:
  void Run();
  void AskOnce();

  const ConfDirectory* const configs_;
  const Options options_;
  const std::function<Status(const CniConfig&)> ask_;
  const std::function<void(const CniConfig&)> ready_;
  mutable absl::Mutex mutex_;
  Status last_ ABSL_GUARDED_BY(mutex_);
  Deadline well_until_ ABSL_GUARDED_BY(mutex_) = Deadline::After(absl::ZeroDuration());
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace gantry::cri
