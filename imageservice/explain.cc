#include "imageservice/explain.h"

#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "imageservice/child_process.h"
#include "runtime/linux/unix_socket.h"

namespace gantry::images {
namespace {

constexpr auto kPatience = std::chrono::minutes(5);
constexpr int kTickMs = 100;

// The puller's one frame.
StatusOr<std::string> AwaitFrame(const ExplainSession& session, PullerChannel& channel) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < deadline) {
    struct pollfd polls[] = {{channel.fd(), POLLIN, 0}, {session.cancel, POLLIN, 0}};
    if (poll(polls, 2, kTickMs) < 0 && errno != EINTR) return SyscallError("poll");
    if (polls[1].revents != 0 || (session.cancelled && session.cancelled()))
      return absl::CancelledError("nobody waits for it any more");
    ASSIGN_OR_RETURN(std::optional<std::string> frame, channel.Receive(/*wait=*/false));
    if (frame.has_value()) return *std::move(frame);
  }
  return absl::DeadlineExceededError("it is not done after five minutes");
}

}  // namespace

StatusOr<PullExplanation> RunExplain(const ExplainSession& session, const PullTask& task) {
  ASSIGN_OR_RETURN(auto ends, SocketPair(SOCK_STREAM));
  ASSIGN_OR_RETURN(ChildProcess puller, ChildProcess::Start(session.puller_binary, {},
                                                            {{ends.second.get(), kPullerSocket}}));
  ends.second.Reset();
  PullerChannel channel(std::move(ends.first));
  Status sent = channel.Send(EncodeOrder(ExplainTask{task}), {}, /*wait=*/false);
  const StatusOr<std::string> frame =
      sent.ok() ? AwaitFrame(session, channel) : StatusOr<std::string>(sent);
  if (absl::IsUnavailable(frame.status()))
    return absl::InternalError(absl::StrCat("gantry-puller died: ", puller.End(kPullerPatience)));
  RETURN_IF_ERROR(frame.status());
  auto explanation = DecodeExplanation(*frame);
  if (!explanation.ok())
    return absl::InternalError(
        absl::StrCat("gantry-puller's explanation: ", explanation.status().message()));
  puller.End(kPullerPatience);
  for (ExplainedLayer& layer : explanation->layers)
    layer.present = session.store.HasLayer(layer.digest);
  return explanation;
}

}  // namespace gantry::images
