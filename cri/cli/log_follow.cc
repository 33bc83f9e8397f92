#include "cri/cli/log_follow.h"

#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"

namespace gantry::cli {
namespace {

constexpr absl::Duration kFirstPause = absl::Milliseconds(2);
constexpr absl::Duration kLongestPause = absl::Milliseconds(100);

// Readable when something in the log's folder changes; -1 where that cannot be had: then the pauses
// between two looks are all there is.
UniqueFd WatchFolder(const std::string& log_path) {
  const std::string folder = log_path.substr(0, log_path.rfind('/') + 1);
  UniqueFd fd(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (folder.empty() || !fd.valid()) return {};
  const uint32_t events = IN_MODIFY | IN_CREATE | IN_MOVED_TO;
  return inotify_add_watch(fd.get(), folder.c_str(), events) < 0 ? UniqueFd() : std::move(fd);
}

void Drain(int fd) {
  char buffer[4096];
  while (read(fd, buffer, sizeof buffer) > 0) {
  }
}

// Until `deadline` for a change in the folder; true: there may be more to read.
bool Wait(int folder, const FollowRequest& request, absl::Time deadline) {
  const absl::Duration left = std::max(deadline - absl::Now(), absl::ZeroDuration());
  pollfd fds[] = {{folder, POLLIN, 0}, {request.wake_fd, POLLIN, 0}};
  poll(fds, 2,
       static_cast<int>(absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1)))));
  if (fds[1].revents != 0) request.woken();
  if (fds[0].revents == 0) return false;
  Drain(folder);
  return true;
}

}  // namespace

StatusOr<api::ContainerStatus> StatusOf(Client& client, const std::string& container_id) {
  api::ContainerStatusRequest request;
  request.set_container_id(container_id);
  ASSIGN_OR_RETURN(
      api::ContainerStatusResponse response,
      Call<api::ContainerStatusResponse>(
          absl::StrCat("container \"", container_id, "\""), [&](auto* context, auto* answer) {
            return client.runtime().ContainerStatus(context, request, answer);
          }));
  return std::move(*response.mutable_status());
}

StatusOr<api::ContainerStatus> FollowToExit(Client& client, LogReader& reader,
                                            const FollowRequest& request) {
  const UniqueFd folder = WatchFolder(request.log_path);
  for (absl::Duration pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    ASSIGN_OR_RETURN(api::ContainerStatus status, StatusOf(client, request.container_id));
    // After the status: what had been written by the exit is read here.
    if (!request.log_path.empty()) RETURN_IF_ERROR(reader.Read(request.visit));
    request.flush();
    if (status.state() == api::CONTAINER_EXITED) return status;
    const absl::Time next_look = absl::Now() + pause;
    do {
      if (!Wait(folder.get(), request, next_look)) continue;
      if (!request.log_path.empty()) RETURN_IF_ERROR(reader.Read(request.visit));
      request.flush();
    } while (absl::Now() < next_look);
  }
}

void LogPrinter::Print(const LogLine& line) {
  FILE* out = line.is_stderr ? stderr : stdout;
  bool& in_line = in_line_[line.is_stderr ? 1 : 0];
  if (timestamps_ && !in_line) {
    fwrite(line.timestamp.data(), 1, line.timestamp.size(), out);
    fputc(' ', out);
  }
  fwrite(line.content.data(), 1, line.content.size(), out);
  if (!line.partial) fputc('\n', out);
  in_line = line.partial;
}

bool LogPrinter::Flush() { return fflush(stdout) == 0 && fflush(stderr) == 0; }

}  // namespace gantry::cli
