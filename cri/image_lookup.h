// The image that a container, or one of its volumes, is made of.
#pragma once

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"

#include "imageservice/image_store.h"

namespace gantry::cri {

// By every name that CRI knows for it. kNotFound when it was not pulled.
inline StatusOr<std::shared_ptr<const images::Image>> FindImage(const images::ImageStore& images,
                                                                const std::string& name) {
  ASSIGN_OR_RETURN(auto image, images.Find(name));
  if (image != nullptr) return image;
  return absl::NotFoundError(
      absl::StrCat("image \"", name, "\" is not on this node: pull it first"));
}

}  // namespace gantry::cri
