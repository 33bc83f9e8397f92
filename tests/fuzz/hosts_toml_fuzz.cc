// The operator's hosts.toml, which may be anything that somebody put there: read, or refused.
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

#include "imageservice/registry_hosts.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const auto hosts = gantry::images::ParseHostsToml("reg.example", "/nonexistent", text);
  if (hosts.ok() && hosts->endpoints.empty()) __builtin_trap();  // its header promises one
  return 0;
}
