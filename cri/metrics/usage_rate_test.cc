#include "cri/metrics/usage_rate.h"

#include <gtest/gtest.h>

namespace gantry::cri {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

TEST(UsageRate, NeedsTwoReadings) {
  UsageRate rate;
  EXPECT_EQ(rate.Add(kSecond, 500), std::nullopt);
  EXPECT_EQ(rate.Add(3 * kSecond, 500 + kSecond), kSecond / 2u) << "1 s of CPU in 2 s";
}

TEST(UsageRate, IsOfTheLastWhileForEachOfSeveralAskers) {
  UsageRate rate;
  rate.Add(0, 0);
  rate.Add(10 * kSecond, 10 * kSecond);
  // Idle since; a millisecond later there would be no rate to speak of.
  EXPECT_EQ(rate.Add(20 * kSecond, 10 * kSecond), 0u);
  EXPECT_EQ(rate.Add(20 * kSecond + 1'000'000, 10 * kSecond), 0u);
  EXPECT_EQ(rate.Add(22 * kSecond, 11 * kSecond), kSecond / 2u);
}

TEST(UsageRate, SaysNothingWhenTimeOrCounterGoBack) {
  UsageRate rate;
  rate.Add(10 * kSecond, 100);
  EXPECT_EQ(rate.Add(10 * kSecond, 200), std::nullopt);
  EXPECT_EQ(rate.Add(5 * kSecond, 300), std::nullopt) << "the clock was set back";
  EXPECT_EQ(rate.Add(12 * kSecond, 20), std::nullopt) << "another counter";
}

}  // namespace
}  // namespace gantry::cri
