#include "imageservice/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"

namespace gantry::images {
namespace {

// sched(7) knows threads, not processes. A new thread has its maker's policy, so a round that finds
// nothing to change has seen them all.
void SetPolicy(pid_t pid, int policy) {
  constexpr int kRounds = 8, kThreads = 64;  // it has a few, and shall not keep us
  const sched_param none = {};
  bool changed = true;
  for (int round = 0; changed && round < kRounds; ++round) {
    changed = false;
    std::error_code error;
    std::filesystem::directory_iterator tasks(absl::StrCat("/proc/", pid, "/task"), error);
    for (int i = 0; i < kThreads && !error && tasks != std::filesystem::end(tasks);
         tasks.increment(error), ++i) {
      pid_t thread = 0;
      if (!absl::SimpleAtoi(tasks->path().filename().string(), &thread)) continue;
      if (sched_getscheduler(thread) == policy) continue;
      changed = sched_setscheduler(thread, policy, &none) == 0 || changed;
    }
  }
}

}  // namespace

StatusOr<ChildProcess> ChildProcess::Start(const std::string& binary,
                                           const std::vector<std::string>& args,
                                           std::vector<InheritedFd> fds, const PullCgroup* cgroup) {
  ASSIGN_OR_RETURN(const UniqueFd null, OpenAt(AT_FDCWD, "/dev/null", O_RDWR));
  fds.push_back({null.get(), STDIN_FILENO});
  fds.push_back({null.get(), STDOUT_FILENO});
  fds.push_back({STDERR_FILENO, STDERR_FILENO});
  SpawnRequest request;
  request.path = binary;
  request.args = {binary.substr(binary.rfind('/') + 1)};
  request.args.insert(request.args.end(), args.begin(), args.end());
  // libcurl may bring GnuTLS along for protocols that nobody uses here: its self-tests would be a
  // tenth of a pull that finds everything in place.
  request.env = {"GNUTLS_NO_IMPLICIT_INIT=1"};
  if (cgroup != nullptr) {
    request.cgroup_fd = cgroup->unified_fd();
    cgroup->Hand(fds);
  }
  request.fds = std::move(fds);
  request.new_session = true;
  bool own_group = cgroup != nullptr;
  StatusOr<ClonedProcess> process = Spawn(request);
  if (!process.ok() && request.cgroup_fd >= 0) {
    // Somebody has removed the group, or changed what it is good for: a pull is worth more.
    request.cgroup_fd = -1;
    own_group = false;
    process = Spawn(request);
  }
  RETURN_IF_ERROR(process.status());
  return ChildProcess(*std::move(process), own_group);
}

ChildProcess::~ChildProcess() {
  if (pidfd_.valid()) End(std::chrono::milliseconds(0));
}

void ChildProcess::SetBackground(bool background) {
  // Until it is reaped the number is its own. That of another thread of it may be somebody else's
  // when all numbers have been used meanwhile: then that one has another share of the processors.
  if (!pidfd_.valid() || !own_group_ || background == background_) return;
  background_ = background;
  SetPolicy(pid_, background ? SCHED_IDLE : SCHED_OTHER);
}

std::string ChildProcess::End(std::chrono::milliseconds patience) {
  if (!pidfd_.valid()) return "has ended";
  struct pollfd exited = {pidfd_.get(), POLLIN, 0};
  int ready;
  do {
    ready = poll(&exited, 1, static_cast<int>(patience.count()));
  } while (ready < 0 && errno == EINTR);
  if (ready <= 0) static_cast<void>(SignalPidFd(pidfd_.get(), SIGKILL));
  const StatusOr<std::optional<ExitStatus>> status = WaitPidFd(pidfd_.get(), /*block=*/true);
  pidfd_.Reset();
  if (!status.ok() || !status->has_value()) return "cannot be waited for";
  return absl::StrCat((*status)->signaled ? "signal " : "exit status ", (*status)->value);
}

}  // namespace gantry::images
