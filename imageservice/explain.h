// gantryd's half of `gantry image explain`: a puller of its own that fetches no layer.
#pragma once

#include <functional>
#include <string>

#include "imageservice/image_store.h"
#include "imageservice/pull_explanation.h"
#include "imageservice/puller_protocol.h"
#include "runtime/base/status.h"

namespace gantry::images {

struct ExplainSession {
  const ImageStore& store;
  std::string puller_binary;
  int cancel = -1;                       // eventfd: readable ends it with kCancelled
  std::function<bool()> cancelled = {};  // polled at least 10 times a second; may be empty
};

// Runs the puller and says of each layer whether it is here. OK also when a pull would fail: see
// PullExplanation::outcome. kCancelled; kDeadlineExceeded after five minutes; kInternal: the puller
// died or talks nonsense. Blocks; leaves no process.
StatusOr<PullExplanation> RunExplain(const ExplainSession& session, const PullTask& task);

}  // namespace gantry::images
