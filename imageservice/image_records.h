// Images in SQLite: one row each, its value as JSON with a checksum beside it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "imageservice/image.h"
#include "runtime/base/status.h"

namespace gantry::images {

// The JSON form of an image. Decode is strict: every digest and reference is checked again.
std::string EncodeImage(const Image& image);
StatusOr<Image> DecodeImage(absl::string_view json);

// One thread at a time. All failures are kInternal and name the database.
class ImageRecords {
 public:
  // Opens or makes the tables `images` and `images_quarantine` in the database `path` (WAL; others
  // may have tables in it).
  static StatusOr<std::unique_ptr<ImageRecords>> Open(const std::string& path);
  ~ImageRecords();

  // All good records. A torn one is moved to the quarantine, with the reason, and logged.
  StatusOr<std::vector<Image>> Load();

  // Writes the images and deletes the ids in one transaction; durable when this returns.
  Status Apply(const std::vector<std::shared_ptr<const Image>>& put,
               const std::vector<std::string>& erase);

 private:
  struct State;
  explicit ImageRecords(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gantry::images
