#include "imageservice/connection_plan.h"

#include <algorithm>

namespace gantry::images {
namespace {

constexpr double kWorthIt = 1.15;
constexpr double kReaderIsTheLimit = 0.5;
constexpr int kHungryPeriods = 2, kRestingPeriods = 20;

}  // namespace

int ConnectionPlan::Next(const Period& period) {
  if (settled_ || (resting_ > 0 && --resting_ > 0)) return wanted_;
  if (period.reader_share > kReaderIsTheLimit) {
    hungry_ = 0;
    return wanted_;
  }
  if (starting_) {
    starting_ = false;
    return wanted_;
  }
  if (wanted_ == 1 && ++hungry_ < kHungryPeriods) return wanted_;
  const bool paid = wanted_ == 1 || period.rate >= before_ * kWorthIt;
  if (!paid) {
    settled_ = previous_ > 1 || failed_;
    failed_ = true;
    resting_ = kRestingPeriods;
    hungry_ = 0;
    return wanted_ = previous_;
  }
  if (wanted_ == kMaxConnectionsPerBlob) settled_ = true;
  if (settled_) return wanted_;
  before_ = period.rate;
  previous_ = wanted_;
  wanted_ = std::min(kMaxConnectionsPerBlob, wanted_ + std::max(1, wanted_ / 2));
  starting_ = true;
  return wanted_;
}

}  // namespace gantry::images
