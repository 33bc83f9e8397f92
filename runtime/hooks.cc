#include "runtime/hooks.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/spawn.h"

namespace gantry::runtime {
namespace {

// A file and not a pipe: a hook that does not read it then blocks nobody.
StatusOr<UniqueFd> InputOf(absl::string_view text) {
  UniqueFd file(memfd_create("hook-state", MFD_CLOEXEC));
  if (!file.valid()) return SyscallError("memfd_create", "hook-state");
  RETURN_IF_ERROR(WriteAll(file.get(), text, "hook state"));
  if (lseek(file.get(), 0, SEEK_SET) != 0) return SyscallError("lseek", "hook state");
  return file;
}

// True when it has ended; false at the deadline.
StatusOr<bool> AwaitEnd(int pidfd, const std::optional<int>& timeout_seconds) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::seconds(timeout_seconds.value_or(0));
  while (true) {
    int wait_ms = -1;
    if (timeout_seconds.has_value()) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
      wait_ms = left.count() < 0 ? 0 : static_cast<int>(left.count());
    }
    pollfd ended = {.fd = pidfd, .events = POLLIN, .revents = 0};
    const int ready = poll(&ended, 1, wait_ms);
    if (ready < 0 && errno != EINTR) return SyscallError("poll", "hook");
    if (ready >= 0) return ready == 1;
  }
}

Status RunHook(const spec::Hook& hook, absl::string_view state_json) {
  ASSIGN_OR_RETURN(const UniqueFd input, InputOf(state_json));
  SpawnRequest request{.path = hook.path, .args = hook.args, .env = hook.env, .fds = {}};
  if (request.args.empty()) request.args = {hook.path};
  request.fds = {{.from = input.get(), .to = 0}, {.from = 1, .to = 1}, {.from = 2, .to = 2}};
  ASSIGN_OR_RETURN(const ClonedProcess process, Spawn(request));
  ASSIGN_OR_RETURN(const bool ended, AwaitEnd(process.pidfd.get(), hook.timeout));
  if (!ended) RETURN_IF_ERROR(SignalPidFd(process.pidfd.get(), SIGKILL));
  ASSIGN_OR_RETURN(const auto exit, WaitPidFd(process.pidfd.get(), /*block=*/true));
  if (!ended)
    return absl::DeadlineExceededError(absl::StrCat("killed after ", *hook.timeout, " seconds"));
  if (exit->signaled) return absl::InternalError(absl::StrCat("killed by signal ", exit->value));
  if (exit->value != 0) return absl::InternalError(absl::StrCat("exited with ", exit->value));
  return absl::OkStatus();
}

}  // namespace

Status RunHooks(absl::string_view kind, const std::vector<spec::Hook>& hooks,
                absl::string_view state_json) {
  for (size_t i = 0; i < hooks.size(); ++i) {
    RETURN_IF_ERROR_CONTEXT(RunHook(hooks[i], state_json),
                            absl::StrCat("hook ", i + 1, " of ", kind, " (", hooks[i].path, ")"));
  }
  return absl::OkStatus();
}

}  // namespace gantry::runtime
