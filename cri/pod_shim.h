// A pod's shim as gantryd holds it.
#pragma once

#include <memory>

#include "absl/time/time.h"

#include "runtime/linux/unique_fd.h"
#include "shim/client.h"

namespace gantry::cri {

// A live shim and our connection to it; shared by the snapshots of its sandbox. Client::Call is
// thread-safe.
struct PodShim {
  std::unique_ptr<shim::Client> client;
  UniqueFd pidfd;

  // Whether it is known to have ended.
  [[nodiscard]] bool Ended() const;

  // Gives it `grace` to end by itself, then kills it; reaps it where it is our child: after a
  // restart of gantryd that is somebody else's duty. Returns once it has ended, or after 5 s.
  void End(absl::Duration grace) const;
};

}  // namespace gantry::cri
