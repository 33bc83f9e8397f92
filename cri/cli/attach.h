// A container's own standard streams.
#pragma once

#include <string>

#include "cri/cli/client.h"
#include "cri/cli/stream_client.h"

namespace gantry::cli {

struct AttachRequest {
  std::string container_id;
  bool stdin = false;
  bool tty = false;  // as the container was created
};

// Asks for the session, without beginning it: what the container says from now on is kept for it
// for a minute. Returns the URL.
StatusOr<std::string> AskToAttach(Client& client, const AttachRequest& request);

}  // namespace gantry::cli
