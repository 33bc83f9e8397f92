#include "imageservice/connection_plan.h"

#include <algorithm>

namespace gantry::images {
namespace {

constexpr double kWorthIt = 1.15;
constexpr double kReaderIsTheLimit = 0.5;

}  // namespace

int ConnectionPlan::Next(const Period& period) {
  if (settled_ || period.reader_share > kReaderIsTheLimit) return wanted_;
  if (starting_) {
    starting_ = false;
    return wanted_;
  }
  if (wanted_ == kMaxConnectionsPerBlob || (wanted_ > 1 && period.rate < before_ * kWorthIt)) {
    settled_ = true;
    return wanted_;
  }
  before_ = period.rate;
  wanted_ = std::min(kMaxConnectionsPerBlob, wanted_ + std::max(1, wanted_ / 2));
  starting_ = true;
  return wanted_;
}

}  // namespace gantry::images
