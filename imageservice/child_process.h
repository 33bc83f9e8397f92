// A puller or unpacker process: killed and reaped when its owner lets go.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "imageservice/pull_cgroup.h"
#include "runtime/base/status.h"
#include "runtime/linux/spawn.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

class ChildProcess {
 public:
  // Starts `binary` with `args` behind its name, standard input and output at /dev/null, standard
  // error ours, and nothing of our environment: proxy variables may hold a password; in `cgroup`,
  // if there is one. From any thread.
  static StatusOr<ChildProcess> Start(const std::string& binary,
                                      const std::vector<std::string>& args,
                                      std::vector<InheritedFd> fds,
                                      const PullCgroup* cgroup = nullptr);
  ChildProcess(ChildProcess&&) = default;
  ChildProcess& operator=(ChildProcess&&) = delete;
  ~ChildProcess();

  // Waits so long for it to exit by itself, then kills it. Returns "exit status 1", "signal 9".
  std::string End(std::chrono::milliseconds patience);

 private:
  explicit ChildProcess(UniqueFd pidfd) : pidfd_(std::move(pidfd)) {}
  UniqueFd pidfd_;  // none once it is reaped
};

}  // namespace gantry::images
