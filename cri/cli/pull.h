// Pulling with progress, for `gantry pull` and `gantry run`.
#pragma once

#include <string>

#include "cri/cli/client.h"

namespace gantry::cli {

struct PullOptions {
  std::string image;
  std::string username;
  std::string password;
  bool quiet = false;
};

// Shows the progress on standard error and returns the image's id. `context` belongs to the caller,
// who may cancel it.
StatusOr<std::string> PullWithProgress(Client& client, const PullOptions& options,
                                       grpc::ClientContext* context);

// Whether the daemon has the image; an error when `image` is no reference.
StatusOr<bool> HasImage(Client& client, const std::string& image);

}  // namespace gantry::cli
