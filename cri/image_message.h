// An image as CRI and people see it. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "cri/api.h"
#include "imageservice/image.h"

namespace gantry::cri {

// The same message for every reference that leads to the image. Of uid and username exactly one is
// set (uid 0 when the image names no user); spec.image is the ID. `pins`: see IsPinned.
v1::Image ImageMessage(const images::Image& image, const std::vector<std::string>& pins);

// Whether one of the image's names is among `pins`: names as users write them, or patterns with
// asterisks for any text, of full names. The kubelet does not remove pinned images for their space.
bool IsPinned(const images::Image& image, const std::vector<std::string>& pins);

// The image as a user can pull it again: NAME@DIGEST, of the repository in `name` where it was
// pulled from there, else of the first one; an image without digests (imported): its ID. This is
// image_ref of containers (api.proto: "digested reference to the image in use"), and so imageID in
// the status of a pod.
std::string DigestedReference(const images::Image& image, absl::string_view name);

// What the user wrote for it, where the kubelet tells; else what it asks for.
const std::string& NameAsWritten(const v1::ImageSpec& image);

// Everything that is known of the image, for reading: names, layers and "imageSpec", its
// configuration with the keys of the OCI image specification (config.md).
std::string ImageDetailJson(const images::Image& image, bool pinned, bool indented = false);

}  // namespace gantry::cri
