#include "cri/streaming/tokens.h"

#include <memory>
#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::cri::streaming {
namespace {

using ::testing::MatchesRegex;

TEST(Tokens, Are128BitsThatNeverRepeat) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string token = NewToken();
    EXPECT_THAT(token, MatchesRegex("[A-Za-z0-9_-]{22}"));
    EXPECT_TRUE(seen.insert(token).second);
  }
}

TEST(Tokens, AreGoodOnce) {
  TokenTable<int> table;
  const SteadyTime now = Deadline::Clock::now();
  const auto token = table.Add(7, now);
  ASSERT_TRUE(token.ok());
  EXPECT_EQ(table.Take("another", now), std::nullopt);
  EXPECT_EQ(table.Take(*token, now), 7);
  EXPECT_EQ(table.Take(*token, now), std::nullopt);
}

TEST(Tokens, AreGoodForAMinute) {
  TokenTable<int> table;
  const SteadyTime now = Deadline::Clock::now();
  const auto early = table.Add(1, now);
  const auto late = table.Add(2, now);
  EXPECT_EQ(table.Take(*early, now + std::chrono::seconds(59)), 1);
  EXPECT_EQ(table.Take(*late, now + std::chrono::seconds(60)), std::nullopt);
}

TEST(Tokens, AreBoundedUntilOldOnesExpire) {
  TokenTable<int> table;
  const SteadyTime now = Deadline::Clock::now();
  for (size_t i = 0; i < kMaxTokens; ++i) ASSERT_TRUE(table.Add(0, now).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(table.Add(1, now).status()));
  EXPECT_TRUE(table.Add(1, now + kTokenLife).ok());
}

TEST(Tokens, LetGoOfWhatNobodyCameFor) {
  TokenTable<std::shared_ptr<int>> table;
  const SteadyTime now = Deadline::Clock::now();
  const auto value = std::make_shared<int>(1);
  ASSERT_TRUE(table.Add(value, now).ok());
  EXPECT_EQ(table.DropExpired(now + std::chrono::seconds(59)), 1U);
  EXPECT_EQ(table.DropExpired(now + std::chrono::seconds(60)), 0U);
  EXPECT_EQ(value.use_count(), 1);
  const auto token = table.Add(value, now);
  ASSERT_TRUE(table.Add(nullptr, now).ok());
  table.DropIf([](const auto& held) { return held != nullptr; });
  EXPECT_EQ(table.Take(*token, now), std::nullopt);
  EXPECT_EQ(table.DropExpired(now), 1U) << "the other one stays";
}

}  // namespace
}  // namespace gantry::cri::streaming
