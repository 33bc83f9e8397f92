// A rate made of the readings of a counter.
#pragma once

#include <cstdint>
#include <optional>

namespace gantry::cri {

// Nanoseconds of CPU a second, over the last second or more. Not thread-safe.
class UsageRate {
 public:
  // Unset at the first reading, and when neither time nor counter have gone forward.
  std::optional<uint64_t> Add(int64_t at_ns, uint64_t used_ns) {
    const Reading now{at_ns, used_ns};
    // Two who ask shortly after one another get rates over the same while, not over the moment
    // between them.
    if (last_ && at_ns - last_->at_ns >= kWindowNs) before_ = last_;
    if (last_ && at_ns < last_->at_ns) before_.reset();
    const std::optional<Reading> from = before_ ? before_ : last_;
    if (!last_ || at_ns - last_->at_ns >= kWindowNs || at_ns < last_->at_ns) last_ = now;
    if (!from || at_ns <= from->at_ns || used_ns < from->used_ns) return std::nullopt;
    const double seconds = static_cast<double>(at_ns - from->at_ns) / 1e9;
    return static_cast<uint64_t>(static_cast<double>(used_ns - from->used_ns) / seconds);
  }

 private:
  static constexpr int64_t kWindowNs = 1'000'000'000;
  struct Reading {
    int64_t at_ns = 0;
    uint64_t used_ns = 0;
  };
  std::optional<Reading> before_, last_;  // at least a window apart
};

}  // namespace gantry::cri
