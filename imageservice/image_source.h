// Where a puller gets images from: a registry or an archive.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "imageservice/blob_download.h"
#include "imageservice/puller_protocol.h"
#include "runtime/base/status.h"

namespace gantry::images {

class ImageSource {
 public:
  virtual ~ImageSource() = default;

  // All images, with verified configurations. Call once.
  virtual StatusOr<std::vector<FoundImage>> Find() = 0;

  // Gives the bytes of a layer that Find named to `sink`; OK only when digest and size were right.
  // `resume`: what an earlier pull left of it, and where this one may leave the same; may be
  // invalid. Any thread.
  virtual Status Deliver(const FoundLayer& layer, UniqueFd resume, const BlobSink& sink) = 0;
  // True when a delivery that ended in wrong bytes may end better if it is made again.
  virtual bool HasOtherSource() const { return false; }
  // What was learnt of servers so far.
  virtual std::vector<HostReport> HostNews() const { return {}; }
};

// The image that a reference names, from its registry or a mirror. Reads the registry's
// configuration and certificates at once, so that Find can run confined.
StatusOr<std::unique_ptr<ImageSource>> OpenRegistrySource(const PullTask& task);

// The images of an archive: `docker save` or an OCI layout, plain or compressed as a whole. An
// archive that cannot be read at any place, or is compressed, is first copied to `spool`.
StatusOr<std::unique_ptr<ImageSource>> OpenArchiveSource(const ImportTask& task, UniqueFd archive,
                                                         UniqueFd spool);

}  // namespace gantry::images
