// A point of time by the clock that nobody sets (CLOCK_MONOTONIC, clock_gettime(2)): a step of the
// wall clock, as after the resumption of a virtual machine, ends no wait early and prolongs none.
#pragma once

#include <algorithm>
#include <chrono>

#include "absl/time/time.h"

namespace gantry {

class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  static Deadline Never() { return Deadline(Clock::time_point::max()); }
  // absl::InfiniteDuration(): Never.
  static Deadline After(absl::Duration wait) {
    const Clock::time_point now = Clock::now();
    const auto most = absl::FromChrono(Clock::time_point::max() - now);
    return wait >= most ? Never() : Deadline(now + absl::ToChronoNanoseconds(wait));
  }

  [[nodiscard]] bool Passed() const { return Clock::now() >= at_; }
  // 0 when it has passed; absl::InfiniteDuration() for Never.
  [[nodiscard]] absl::Duration Left() const {
    if (at_ == Clock::time_point::max()) return absl::InfiniteDuration();
    return std::max(absl::FromChrono(at_ - Clock::now()), absl::ZeroDuration());
  }
  [[nodiscard]] Clock::time_point at() const { return at_; }

 private:
  explicit Deadline(Clock::time_point at) : at_(at) {}
  Clock::time_point at_;
};

}  // namespace gantry
