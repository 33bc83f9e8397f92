#include "cri/pod_shim.h"

#include <poll.h>

#include <csignal>

#include "runtime/linux/pidfd.h"

namespace gantry::cri {
namespace {

constexpr absl::Duration kShimExits = absl::Seconds(5);

bool WaitGone(int pidfd, absl::Duration patience) {
  pollfd gone = {pidfd, POLLIN, 0};
  return poll(&gone, 1, static_cast<int>(absl::ToInt64Milliseconds(patience))) > 0;
}

}  // namespace

bool PodShim::Ended() const { return pidfd.valid() && WaitGone(pidfd.get(), absl::ZeroDuration()); }

void PodShim::End(absl::Duration grace) const {
  if (!pidfd.valid()) return;
  if (!WaitGone(pidfd.get(), grace)) {
    SignalPidFd(pidfd.get(), SIGKILL).IgnoreError();
    WaitGone(pidfd.get(), kShimExits);
  }
  WaitPidFd(pidfd.get(), /*block=*/false).status().IgnoreError();
}

}  // namespace gantry::cri
