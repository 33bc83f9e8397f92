// The Content-Range header of a 206 answer (RFC 9110 section 14.4).
#pragma once

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace gantry::images {

struct ContentRange {
  uint64_t first = 0, last = 0;
  std::optional<uint64_t> total;  // none for "*"
};

// "bytes 100-199/200" or "bytes 100-199/*". Nothing for anything else, and for ranges that are
// none.
std::optional<ContentRange> ReadContentRange(absl::string_view text);

}  // namespace gantry::images
