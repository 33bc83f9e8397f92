#include "imageservice/host_health.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "imageservice/connection_plan.h"
#include "imageservice/content_range.h"
#include "imageservice/endpoint_race.h"

namespace gantry::images {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
constexpr char kHost[] = "http://h:80";

TEST(HostHealth, RequestsThatFailTogetherCountOnceAndShareTheirWait) {
  HostHealth health;
  const auto sent = HostHealth::Clock::now();
  const auto first = health.Retry(kHost, sent, seconds(5));
  ASSERT_TRUE(first.has_value());
  for (int i = 0; i < 20; ++i) EXPECT_EQ(health.Retry(kHost, sent, seconds(7)), first);
  EXPECT_EQ(health.NotBefore(kHost), *first);
  EXPECT_GE(*first - sent, seconds(5));
  EXPECT_LE(*first - sent, milliseconds(5600)) << "jitter is at most half a second";
}

TEST(HostHealth, TriesHaveAnEndUnlessThereIsProgress) {
  HostHealth health;
  const auto fails = [&] { return health.Retry(kHost, HostHealth::Clock::now(), milliseconds(0)); };
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(fails().has_value());
    health.AwaitTurn(kHost, {});
  }
  EXPECT_FALSE(fails().has_value());
  health.Progressed(kHost);
  EXPECT_TRUE(fails().has_value());
  EXPECT_FALSE(health.Retry("http://other:80", HostHealth::Clock::now(), seconds(61)).has_value())
      << "longer than a minute is not waited for";
}

TEST(HostHealth, AnOpenCircuitIsTriedByOneWhenItsTimeIsOver) {
  HostHealth health;
  EXPECT_TRUE(health.Usable(kHost));
  health.GiveUp(kHost, "no answer\n");
  EXPECT_FALSE(health.Usable(kHost));
  EXPECT_EQ(health.ReasonOf(kHost), "no answer ");
  ASSERT_EQ(health.News().size(), 1u);
  EXPECT_GT(health.News()[0].open_for, seconds(9));
  // In another process, later.
  HostHealth later;
  later.Merge({{kHost, 2, milliseconds(0), "why"}});
  EXPECT_TRUE(later.News().empty()) << "what was told is not told back";
  EXPECT_EQ(later.Failing().size(), 1u);
  EXPECT_TRUE(later.Usable(kHost));
  EXPECT_FALSE(later.Usable(kHost)) << "one trial at a time";
  later.GiveUp(kHost, "again");
  EXPECT_GT(later.News()[0].open_for, seconds(30)) << "it doubles with each failure in a row";
  later.Answered(kHost);
  EXPECT_FALSE(later.Usable(kHost)) << "an answer to what was asked before says nothing";
  HostHealth trial;
  trial.Merge({{kHost, 2, milliseconds(0), "why"}});
  EXPECT_TRUE(trial.Usable(kHost));
  trial.Answered(kHost);
  EXPECT_TRUE(trial.Usable(kHost));
  health.Merge(trial.News());
  EXPECT_TRUE(health.Usable(kHost));
}

TEST(HostHealth, WhatOthersTellIsBounded) {
  HostHealth health;
  std::vector<HostReport> reports;
  for (int i = 0; i < 1000; ++i)
    reports.push_back({"http://h" + std::to_string(i), 1'000'000, std::chrono::hours(1000),
                       std::string(100'000, '\x01')});
  health.Merge(reports);
  ASSERT_EQ(health.Failing().size(), kMaxHostReports);
  EXPECT_LE(health.Failing()[0].open_for, std::chrono::minutes(5));
  EXPECT_EQ(health.Failing()[0].reason.size(), kMaxHostReason);
}

TEST(EndpointRace, FailuresLeadToTheNextAndAllOfThemAreKept) {
  EndpointRace race(3, [](size_t index, EndpointRace::Lane& lane) -> Status {
    if (index < 2) return absl::UnavailableError(std::to_string(index));
    EXPECT_TRUE(lane.Claim());
    return absl::OkStatus();
  });
  EXPECT_TRUE(race.Run().ok());
  EXPECT_EQ(race.failures()[1], absl::UnavailableError("1"));
  EndpointRace hopeless(2, [](size_t index, EndpointRace::Lane&) -> Status {
    return absl::UnavailableError(std::to_string(index));
  });
  EXPECT_EQ(hopeless.Run(), absl::UnavailableError("1"));
}

TEST(EndpointRace, WhoLostHasItsTurnWhenTheWinnerFails) {
  std::atomic<bool> second_lost{false};
  std::atomic<int> seconds_runs{0};
  EndpointRace race(2, [&](size_t index, EndpointRace::Lane& lane) -> Status {
    if (index == 0) {  // silent until the other one has started, then first
      while (seconds_runs == 0) std::this_thread::yield();
      EXPECT_TRUE(lane.Claim());
      while (!second_lost) std::this_thread::yield();
      return absl::UnavailableError("broke");
    }
    if (++seconds_runs == 1) {
      while (!lane.lost()) std::this_thread::yield();
      second_lost = true;
      return absl::CancelledError("called off");
    }
    EXPECT_TRUE(lane.Claim());
    return absl::OkStatus();
  });
  EXPECT_TRUE(race.Run().ok());
  EXPECT_EQ(seconds_runs, 2);
}

TEST(EndpointRace, WhoEndsTheRaceEndsItForAll) {
  EndpointRace race(3, [](size_t index, EndpointRace::Lane& lane) -> Status {
    EXPECT_EQ(index, 0u);
    lane.EndRace();
    return absl::DataLossError("wrong");
  });
  EXPECT_EQ(race.Run(), absl::DataLossError("wrong"));
}

TEST(ConnectionPlan, GrowsWhileTheWholeGetsFasterAndThenStays) {
  ConnectionPlan plan;
  EXPECT_EQ(plan.Next({.rate = 10}), 1) << "one period may be chance";
  EXPECT_EQ(plan.Next({.rate = 10}), 2);
  EXPECT_EQ(plan.Next({.rate = 3}), 2) << "the new ones are starting";
  EXPECT_EQ(plan.Next({.rate = 20}), 3);
  EXPECT_EQ(plan.Next({.rate = 20}), 3);
  EXPECT_EQ(plan.Next({.rate = 30}), 4);
  EXPECT_EQ(plan.Next({.rate = 30}), 4);
  EXPECT_EQ(plan.Next({.rate = 31}), 3) << "the fourth was not worth it";
  EXPECT_EQ(plan.Next({.rate = 100}), 3);
}

TEST(ConnectionPlan, GoesBackToOneWhereTwoAreNoFaster) {
  ConnectionPlan plan;
  plan.Next({.rate = 10});
  EXPECT_EQ(plan.Next({.rate = 10}), 2);
  EXPECT_EQ(plan.Next({.rate = 10}), 2);
  EXPECT_EQ(plan.Next({.rate = 11}), 1);
  int periods = 0;
  while (plan.Next({.rate = 10}) == 1 && periods < 100) ++periods;
  EXPECT_EQ(periods, 20) << "a second chance";
  EXPECT_EQ(plan.Next({.rate = 10}), 2);
  EXPECT_EQ(plan.Next({.rate = 11}), 1);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(plan.Next({.rate = 10}), 1) << "and no third";
}

TEST(ConnectionPlan, AReaderThatIsTheLimitNeedsNoConnections) {
  ConnectionPlan plan;
  EXPECT_EQ(plan.Next({.rate = 10, .reader_share = 0.1}), 1);
  EXPECT_EQ(plan.Next({.rate = 10, .reader_share = 0.9}), 1);
  EXPECT_EQ(plan.Next({.rate = 10, .reader_share = 0.1}), 1) << "two in a row";
  EXPECT_EQ(plan.Next({.rate = 10, .reader_share = 0.1}), 2);
}

TEST(ContentRange, IsReadStrictly) {
  const auto range = ReadContentRange("bytes 100-199/200");
  ASSERT_TRUE(range.has_value());
  EXPECT_EQ(range->first, 100u);
  EXPECT_EQ(range->last, 199u);
  EXPECT_EQ(range->total, 200u);
  EXPECT_FALSE(ReadContentRange("bytes 0-9/*")->total.has_value());
  for (const char* text :
       {"", "bytes", "bytes 5-4/10", "bytes 0-10/10", "bytes -1-5/10", "bytes 0-/5", "bytes */10",
        "items 0-1/2", "bytes 0-1", "bytes +0-1/2", "bytes 0-1/2 "})
    EXPECT_FALSE(ReadContentRange(text).has_value()) << text;
}

}  // namespace
}  // namespace gantry::images
