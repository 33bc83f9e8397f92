#include "cri/create_operations.h"

#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::cri {
namespace {

const std::function<bool()> kWaits = [] { return false; };
const std::function<bool()> kGone = [] { return true; };

// Counts what the operations do; `release` lets the work go on.
struct Maker {
  CreateOperations::Work Work() {
    return {.run = [this]() -> StatusOr<std::string> {
              const int number = ++runs;
              if (held) release.WaitForNotification();
              if (fails) return absl::InternalError("it failed");
              return absl::StrCat("id", number);
            },
            .claim = [this](const std::string&) { ++claims; },
            .undo = [this](const std::string&) { ++undone; }};
  }
  std::atomic<bool> held = false;
  std::atomic<bool> fails = false;
  absl::Notification release;
  std::atomic<int> runs = 0;
  std::atomic<int> claims = 0;
  std::atomic<int> undone = 0;
};

StatusOr<std::string> Make(CreateOperations* operations, Maker* maker,
                           const std::function<bool()>& cancelled) {
  return operations->Run("pod/a", maker->Work(), cancelled, absl::InfiniteFuture());
}

TEST(CreateOperations, GivesTheResultAndForgetsTheOperation) {
  Maker maker;
  CreateOperations operations;
  EXPECT_EQ(*Make(&operations, &maker, kWaits), "id1");
  EXPECT_EQ(*Make(&operations, &maker, kWaits), "id2") << "the name is free again";
  EXPECT_EQ(maker.claims, 2);
}

TEST(CreateOperations, ARetryJoinsWhatIsUnderWay) {
  Maker maker;
  maker.held = true;
  CreateOperations operations;
  const auto gone = operations.Run("pod/a", maker.Work(), kGone, absl::InfiniteFuture());
  EXPECT_TRUE(absl::IsCancelled(gone.status()));
  EXPECT_THAT(std::string(gone.status().message()), testing::HasSubstr("pod/a"));
  const auto late = operations.Run("pod/a", maker.Work(), kGone, absl::InfinitePast());
  EXPECT_TRUE(absl::IsDeadlineExceeded(late.status()));
  std::thread release([&maker] {
    absl::SleepFor(absl::Milliseconds(50));
    maker.release.Notify();
  });
  EXPECT_EQ(*Make(&operations, &maker, kWaits), "id1");
  release.join();
  EXPECT_EQ(maker.runs, 1);
  EXPECT_EQ(maker.claims, 1);
}

TEST(CreateOperations, AResultWithoutACallerIsKeptForTheRetry) {
  Maker maker;
  maker.held = true;
  CreateOperations operations;
  EXPECT_FALSE(Make(&operations, &maker, kGone).ok());
  maker.release.Notify();
  absl::SleepFor(absl::Milliseconds(50));
  operations.Sweep();
  EXPECT_EQ(maker.undone, 0) << "two minutes have not passed";
  EXPECT_EQ(*Make(&operations, &maker, kWaits), "id1");
  EXPECT_EQ(maker.runs, 1);
}

TEST(CreateOperations, AResultThatNobodyComesForIsUndone) {
  Maker maker;
  maker.held = true;
  CreateOperations operations(absl::Milliseconds(1));
  EXPECT_FALSE(Make(&operations, &maker, kGone).ok());
  operations.Sweep();
  EXPECT_EQ(maker.undone, 0) << "it is still being made";
  maker.release.Notify();
  for (int i = 0; i < 100 && maker.undone == 0; ++i) {
    absl::SleepFor(absl::Milliseconds(10));
    operations.Sweep();
  }
  EXPECT_EQ(maker.undone, 1);
  EXPECT_EQ(maker.claims, 0);
  EXPECT_EQ(*Make(&operations, &maker, kWaits), "id2");
}

TEST(CreateOperations, AFailureIsToldToAllAndARetryTriesAnew) {
  Maker maker;
  maker.fails = true;
  CreateOperations operations;
  EXPECT_TRUE(absl::IsInternal(Make(&operations, &maker, kWaits).status()));
  maker.fails = false;
  EXPECT_EQ(*Make(&operations, &maker, kWaits), "id2");
  EXPECT_EQ(maker.undone, 0);
}

}  // namespace
}  // namespace gantry::cri
