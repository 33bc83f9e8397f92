// Images in SQLite: one row each, its value as JSON with a checksum beside it; and the documents
// that their digests are of.
#pragma once

#include <map>
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
  // Opens or makes the tables `images`, `images_quarantine` and `image_documents` in the database
  // `path` (WAL; others may have tables in it).
  static StatusOr<std::unique_ptr<ImageRecords>> Open(const std::string& path);
  ~ImageRecords();

  // All good records. A torn one is moved to the quarantine, with the reason, and logged.
  StatusOr<std::vector<Image>> Load();

  // Documents by image id.
  using DocumentMap = std::map<std::string, ImageDocuments>;
  // Writes the images and deletes the ids, with their documents, in one transaction; durable when
  // this returns. Empty documents are not written. kDataLoss: a configuration is not what its id
  // names.
  Status Apply(const std::vector<std::shared_ptr<const Image>>& put,
               const std::vector<std::string>& erase, const DocumentMap& documents);

  // kNotFound: none were written.
  StatusOr<ImageDocuments> Documents(const std::string& id);

 private:
  struct State;
  explicit ImageRecords(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gantry::images
