// What the server can end: an Exec, Attach or PortForward session.
#pragma once

#include "runtime/base/status.h"

namespace gantry::cri::streaming {

enum class SessionEnd {
  kOwnerEnded,    // the container has exited, or the pod was stopped
  kIdle,          // nothing was said for too long
  kClientGone,    // it has hung up, which a session that reads nothing does not see
  kServerEnding,  // with it all processes of its sessions end
};

// On the io thread.
class Session {
 public:
  virtual ~Session() = default;
  // Tells the client, unless it is gone, and lets go of everything.
  virtual void End(SessionEnd why) = 0;
};

}  // namespace gantry::cri::streaming
