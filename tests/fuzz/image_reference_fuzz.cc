// Image names as users and the kubelet write them.
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

#include "imageservice/reference.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  (void)gantry::images::ParseReference(text);
  // A digest names a file: what passes must be a plain name.
  if (gantry::images::IsDigest(text) &&
      gantry::images::DigestFileName(text).find('/') != std::string::npos) {
    __builtin_trap();
  }
  return 0;
}
