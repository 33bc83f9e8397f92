// An image as CRI and people see it. Pure.
#pragma once

#include <string>

#include "cri/api.h"
#include "imageservice/image.h"

namespace gantry::cri {

// The same message for every reference that leads to the image. Of uid and username exactly one is
// set (uid 0 when the image names no user); spec.image is the ID.
v1::Image ImageMessage(const images::Image& image);

// Everything that is known of the image, for reading: names, layers and "imageSpec", its
// configuration with the keys of the OCI image specification (config.md).
std::string ImageDetailJson(const images::Image& image, bool indented = false);

}  // namespace gantry::cri
