// Kubernetes quantities ("10M", "1.5Gi", "2e6"), as annotations carry them. Pure.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry::cri {

// The whole number that is at least the quantity (0.5 is 1). Suffixes n, u, m, k, M, G, T, P, E,
// Ki to Ei, or a decimal exponent. kInvalidArgument: no quantity, below zero, more than 18 digits,
// or over 2^63 - 1.
StatusOr<uint64_t> ParseQuantity(absl::string_view text);

}  // namespace gantry::cri
