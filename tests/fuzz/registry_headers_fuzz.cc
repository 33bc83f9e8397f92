// What a registry answers outside of documents: challenges and locations.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

#include "imageservice/proxy.h"
#include "imageservice/registry_auth.h"
#include "imageservice/url.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  (void)gantry::images::ParseChallenges(text);
  (void)gantry::images::ParseUrl(text);
  (void)gantry::images::ShownProxy(text);
  const auto base = gantry::images::ParseUrl("https://registry.example/v2/a/blobs/b");
  if (base.ok()) (void)gantry::images::ResolveUrl(*base, std::string(text));
  return 0;
}
