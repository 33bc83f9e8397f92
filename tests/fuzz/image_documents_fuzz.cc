// Manifests, indexes and image configs as a registry may send them.
#include <cstddef>
#include <cstdint>
#include <variant>

#include "absl/strings/string_view.h"

#include "imageservice/artifact.h"
#include "imageservice/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto document = gantry::images::ParseManifest(bytes, "");
  if (document.ok() && std::holds_alternative<gantry::images::ImageIndex>(*document)) {
    (void)gantry::images::PlatformCandidates(std::get<gantry::images::ImageIndex>(*document),
                                             gantry::images::NodePlatform());
  } else if (document.ok()) {
    (void)gantry::images::ArtifactLayers(std::get<gantry::images::ImageManifest>(*document));
  }
  (void)gantry::images::ParseManifest(bytes, "application/vnd.oci.image.index.v1+json");
  (void)gantry::images::ParseConfig(bytes);
  return 0;
}
