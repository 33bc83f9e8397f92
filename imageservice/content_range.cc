#include "imageservice/content_range.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace gantry::images {
namespace {

// Digits only: SimpleAtoi takes signs and spaces too.
bool ReadNumber(absl::string_view text, uint64_t* number) {
  return std::all_of(text.begin(), text.end(), absl::ascii_isdigit) &&
         absl::SimpleAtoi(text, number);
}

}  // namespace

std::optional<ContentRange> ReadContentRange(absl::string_view text) {
  if (!absl::StartsWithIgnoreCase(text, "bytes ")) return std::nullopt;
  using Halves = std::pair<absl::string_view, absl::string_view>;
  const Halves parts = absl::StrSplit(text.substr(6), absl::MaxSplits('/', 1));
  const Halves ends = absl::StrSplit(parts.first, absl::MaxSplits('-', 1));
  ContentRange range;
  if (!ReadNumber(ends.first, &range.first) || !ReadNumber(ends.second, &range.last) ||
      range.last < range.first) {
    return std::nullopt;
  }
  if (parts.second == "*") return range;
  uint64_t total = 0;
  if (!ReadNumber(parts.second, &total) || range.last >= total) return std::nullopt;
  range.total = total;
  return range;
}

}  // namespace gantry::images
