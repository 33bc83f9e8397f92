// Manifests, indexes and image configs as a registry may send them.
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

#include "imageservice/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)gantry::images::ParseManifest(bytes, "");
  (void)gantry::images::ParseManifest(bytes, "application/vnd.oci.image.index.v1+json");
  (void)gantry::images::ParseConfig(bytes);
  return 0;
}
