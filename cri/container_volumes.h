// The VOLUMEs of an image: a writable folder per path, outside of the root file system, that begins
// with what the image has there.
#pragma once

#include <string>
#include <vector>

#include "cri/spec/container_spec.h"
#include "runtime/base/status.h"
#include "runtime/id_maps.h"

namespace gantry::cri {

// Makes <directory>/volumes/<n> for each path, with the content, owners, modes and times of the
// same path below `rootfs` (links are followed inside it only: CVE-2022-23648). A path that the
// image does not have becomes an empty directory of `root`, who is the container's root on the
// host.
StatusOr<std::vector<VolumeMount>> MakeImageVolumes(const std::vector<std::string>& paths,
                                                    int rootfs, const std::string& directory,
                                                    const runtime::HostOwner& root);

}  // namespace gantry::cri
