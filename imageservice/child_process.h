// A puller or unpacker process: killed and reaped when its owner lets go.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "imageservice/pull_cgroup.h"
#include "runtime/base/status.h"
#include "runtime/linux/process.h"
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

  // Lets others of its control group go first, by so much more than they let us (setpriority(2)). A
  // failure is none: it costs time, no more.
  void SetNice(int more);

  // Waits so long for it to exit by itself, then kills it. Returns "exit status 1", "signal 9".
  std::string End(std::chrono::milliseconds patience);

 private:
  explicit ChildProcess(ClonedProcess process)
      : pid_(process.pid), pidfd_(std::move(process.pidfd)) {}
  pid_t pid_;
  UniqueFd pidfd_;  // none once it is reaped
};

}  // namespace gantry::images
