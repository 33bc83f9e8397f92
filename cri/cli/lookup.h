// Finding what a person means: a container by id, by the beginning of its id, or by name.
#pragma once

#include <string>
#include <vector>

#include "cri/cli/client.h"

namespace gantry::cli {

// All containers, or the running ones.
StatusOr<std::vector<::runtime::v1::Container>> ListContainers(Client& client, bool all);

// kNotFound; kInvalidArgument when several match.
StatusOr<::runtime::v1::Container> FindContainer(Client& client, const std::string& wanted);

// The choice itself: an id wins over a name, a name over the beginning of an id.
StatusOr<::runtime::v1::Container> ChooseContainer(
    const std::vector<::runtime::v1::Container>& containers, const std::string& wanted);

// Stops the pod and removes it, with the folder of its logs when that is `gantry run`'s.
Status RemovePod(Client& client, const std::string& sandbox_id);

// Removes a pod's log folder as RunLogDirectory names it, and the folder of all such logs with the
// last one.
void RemoveRunLogs(const std::string& log_directory);

// Where `gantry run` has the log of a pod: below the daemon's root.
StatusOr<std::string> RunLogDirectory(Client& client, const std::string& uid);

}  // namespace gantry::cli
