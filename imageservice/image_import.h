// Importing an archive: gantryd's side. The archive itself is read by a gantry-puller
// (archive_source.cc), which gets it and an empty file as descriptors.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "imageservice/image_store.h"
#include "imageservice/puller_protocol.h"
#include "runtime/base/status.h"

namespace gantry::images {

using ImportRunner = std::function<StatusOr<std::vector<std::shared_ptr<const Image>>>(
    const PullerOrder& task, std::span<const int> fds)>;

// Prepares the file to which the archive is copied when it cannot be read at any place, and runs
// the session. The file has no name, so that nothing is left of it. kResourceExhausted: no space.
StatusOr<std::vector<std::shared_ptr<const Image>>> ImportArchive(ImageStore* store,
                                                                  const ImportRunner& run,
                                                                  int archive_fd,
                                                                  const std::string& name);

}  // namespace gantry::images
