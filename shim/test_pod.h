// For tests as root: a real shim in a folder of its own, driven through client.h as gantryd does,
// with containers made of the machine's static busybox.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "absl/time/time.h"

#include "runtime/base/status.h"
#include "runtime/linux/cgroup.h"
#include "runtime/linux/unique_fd.h"
#include "runtime/test_container.h"
#include "shim/client.h"

namespace gantry::shim {

inline constexpr absl::Duration kDeadline = absl::Seconds(20);

// Whether `condition` holds before the deadline; asked again and again, for what tells nobody that
// it has changed.
bool Eventually(const std::function<bool()>& condition, absl::Duration deadline = kDeadline);

// Proportional and private memory of a process, kB (/proc/PID/smaps_rollup).
struct Memory {
  int64_t pss = 0;
  int64_t private_dirty_and_clean = 0;
  int64_t rss = 0;
};
Memory MemoryOf(pid_t pid);

// The entries of /proc/PID/fd.
size_t DescriptorCount(pid_t pid);

// Shared by the pods of a test.
class TestDaemon {
 public:
  TestDaemon();
  Reactor& reactor() { return *reactor_; }
  runtime::TestContainer& box() { return box_; }
  const CgroupHost& cgroups() { return cgroups_; }

 private:
  std::unique_ptr<Reactor> reactor_;
  runtime::TestContainer box_;
  CgroupHost cgroups_;
};

class TestPod {
 public:
  // Launches the shim and says Hello.
  explicit TestPod(TestDaemon* daemon);
  // Shuts the shim down, unless it is gone, and removes the cgroups. Fails the test when anything
  // is left.
  ~TestPod();
  TestPod(const TestPod&) = delete;
  TestPod& operator=(const TestPod&) = delete;

  StatusOr<ReplyWithFds> Call(const proto::Request& request, std::span<const int> fds = {});
  Client& client() { return *client_; }

  // A container as CRI would have it; `script` is for sh -c. Makes its cgroup. To be changed before
  // Create.
  proto::CreateContainer NewContainer(const std::string& id, const std::string& script);
  // The same with a changed spec.
  proto::CreateContainer NewContainer(const std::string& id, spec::Spec spec);
  spec::Spec SpecFor(const std::string& script);

  // CreateContainer with a rootfs, as far as CLONED and placed in its cgroup.
  Status Clone(const proto::CreateContainer& request);
  // As far as CREATED.
  Status Create(const proto::CreateContainer& request);
  Status Continue(const std::string& id);
  Status Start(const std::string& id);
  // As far as RUNNING.
  Status Run(const std::string& id, const std::string& script);
  Status Signal(const std::string& id, int signal, bool all = false);
  Status Delete(const std::string& id);
  Status ReopenLog(const std::string& id);
  Status Hello(uint64_t events_since);

  // Waits for the event; exit_code -1: it did not come.
  proto::ExitRecord AwaitExit(const std::string& id, absl::Duration deadline = kDeadline);
  bool AwaitEvent(const std::function<bool(const proto::Event&)>& match);
  std::vector<proto::Event> Events();
  proto::HelloReply State();

  // Drops the connection, as a daemon does that is killed.
  void Disconnect();
  // Connects to the socket and says Hello.
  Status Reconnect(uint64_t events_since);
  bool disconnected();

  [[nodiscard]] std::string LogPath(const std::string& id) const;
  // Contents of the log without time stamps.
  std::vector<std::string> LogLines(const std::string& id);
  CgroupPaths Cgroup(const std::string& id) const;
  [[nodiscard]] const std::string& dir() const { return dir_.path(); }
  [[nodiscard]] pid_t shim_pid() const { return shim_.pid; }
  [[nodiscard]] pid_t pump_pid() const;
  // SIGKILL and reaped; the destructor then leaves it.
  void KillShim();
  // Process as it would stand in an exec request.
  std::string ProcessJson(std::vector<std::string> args, bool terminal = false);

 private:
  Handlers MakeHandlers();
  void RemoveCgroups();

  TestDaemon* daemon_;
  runtime::TempDir dir_;
  std::string cgroup_;
  LaunchedShim shim_;
  bool shim_gone_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<proto::Event> events_;
  bool disconnected_ = false;
  proto::HelloReply state_;
  std::vector<std::string> ids_;
  std::unique_ptr<Client> client_;  // last: its handlers use the rest
};

// Runs a process in a container and collects what it writes to 1 and 2.
struct ExecOutcome {
  Status status;
  int exit_code = -1;
  std::string output;
};
ExecOutcome RunExec(TestPod* pod, const std::string& container_id, const std::string& exec_id,
                    const std::string& script);

}  // namespace gantry::shim
