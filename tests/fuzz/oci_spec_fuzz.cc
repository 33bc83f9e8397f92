// config.json: what is read, written and read again says the same.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

#include "runtime/spec/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto spec =
      gantry::spec::ParseSpec(absl::string_view(reinterpret_cast<const char*>(data), size));
  if (!spec.ok()) return 0;
  const std::string written = gantry::spec::ToJson(*spec);
  const auto again = gantry::spec::ParseSpec(written);
  if (!again.ok() || gantry::spec::ToJson(*again) != written) __builtin_trap();
  return 0;
}
