// What a pull would do and why, for people: made by a gantry-puller, shown by `gantry image
// explain`. No secret is ever part of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry::images {

struct ExplainedDecision {
  std::string subject;  // "reference", "hosts", "endpoint 1", "login 1", "platform", "digest", …
  std::string text;
};

struct ExplainedLayer {
  std::string digest;
  std::string media_type;  // as written
  uint64_t size = 0;       // bytes of the blob
  bool present = false;    // on this node already; filled in by gantryd
};

struct PullExplanation {
  std::vector<ExplainedDecision> decisions;  // in the order in which they are made
  std::vector<ExplainedLayer> layers;        // bottom first
  Status outcome;                            // what a pull would end with before its first layer
};

// The frame in which a puller sends it.
std::string EncodeExplanation(const PullExplanation& explanation);
// The puller is not trusted: digests in the result are valid and its texts printable.
// kInvalidArgument for anything else.
StatusOr<PullExplanation> DecodeExplanation(absl::string_view text);

}  // namespace gantry::images
