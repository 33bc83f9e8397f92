#include "cri/event_feed.h"

#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::cri {
namespace {

using ::testing::ElementsAre;

const std::function<bool()> kWaits = [] { return false; };
const std::function<bool()> kGone = [] { return true; };

void Publish(EventFeed* feed, const std::string& id) {
  v1::ContainerEventResponse event;
  event.set_container_id(id);
  feed->Publish(event);
}

TEST(EventFeed, AllHearTheSameInTheSameOrderFromTheirSubscriptionOn) {
  EventFeed feed;
  EXPECT_FALSE(feed.HasSubscribers());
  Publish(&feed, "before");
  const auto one = feed.Subscribe();
  const auto two = feed.Subscribe();
  EXPECT_TRUE(feed.HasSubscribers());
  std::vector<std::thread> publishers;
  for (int i = 0; i < 4; ++i)
    publishers.emplace_back([&feed, i] {
      for (int n = 0; n < 100; ++n) Publish(&feed, std::to_string(i));
    });
  for (std::thread& publisher : publishers) publisher.join();
  int64_t last = 0;
  for (int n = 0; n < 400; ++n) {
    const EventFeed::Event event = one->Next(kWaits);
    EXPECT_EQ(event, two->Next(kWaits));
    EXPECT_GE(event->created_at(), last);
    last = event->created_at();
  }
  EXPECT_EQ(one->Next(kGone), nullptr) << "cancelled";
  EXPECT_FALSE(one->dropped());
}

// Row 83 of the scenario list: one of two stops reading.
TEST(EventFeed, ASlowOneIsDroppedAndCountedAndTheOtherHearsAll) {
  EventFeed feed(/*limit=*/3);
  const auto slow = feed.Subscribe();
  const auto quick = feed.Subscribe();
  std::vector<std::string> heard;
  for (const char* id : {"a", "b", "c", "d", "e"}) {
    Publish(&feed, id);
    heard.push_back(quick->Next(kWaits)->container_id());
  }
  EXPECT_THAT(heard, ElementsAre("a", "b", "c", "d", "e"));
  EXPECT_EQ(slow->Next(kWaits), nullptr);
  EXPECT_TRUE(slow->dropped());
  EXPECT_EQ(feed.dropped(), 1U);
}

TEST(EventFeed, ClosingEndsTheWait) {
  EventFeed feed;
  const auto subscription = feed.Subscribe();
  std::thread closer([&feed] { feed.Close(); });
  EXPECT_EQ(subscription->Next(kWaits), nullptr);
  closer.join();
  EXPECT_FALSE(subscription->dropped());
}

}  // namespace
}  // namespace gantry::cri
