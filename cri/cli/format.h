// Text for people: sizes, ages, ids and tables.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "runtime/base/status.h"

namespace gantry::cli {

// "0 B", "999 B", "1.0 kB", "12.3 MB": powers of 1000, as registries count.
std::string HumanSize(uint64_t bytes);

// The largest unit alone: "5s", "3m", "2h", "4d".
std::string HumanDuration(absl::Duration duration);

// The first 12 digits, without "sha256:".
std::string ShortId(absl::string_view id);

// "512", "512b", "10k", "1.5m", "2g" (powers of 1024, as docker has them) in bytes.
// kInvalidArgument.
StatusOr<int64_t> ParseBytes(absl::string_view text);

// Columns aligned by two spaces, one line per row; the first row is the head.
std::string Table(const std::vector<std::vector<std::string>>& rows);

// Without control characters: names come from the network and from images, and go to a terminal.
std::string Printable(absl::string_view text);

}  // namespace gantry::cli
