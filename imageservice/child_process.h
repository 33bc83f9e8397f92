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

  // Lets it have what the others of its control group leave (SCHED_IDLE, sched(7)), or takes that
  // back. Without such a group nothing is done: it would starve there. A failure costs time, no
  // more.
  void SetBackground(bool background);

  // Waits so long for it to exit by itself, then kills it. Returns "exit status 1", "signal 9".
  std::string End(std::chrono::milliseconds patience);

 private:
  ChildProcess(ClonedProcess process, bool own_group)
      : pid_(process.pid), pidfd_(std::move(process.pidfd)), own_group_(own_group) {}
  pid_t pid_;
  UniqueFd pidfd_;  // none once it is reaped
  bool own_group_;
  bool background_ = false;
};

}  // namespace gantry::images
