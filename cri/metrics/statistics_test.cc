#include "cri/metrics/statistics.h"

#include <filesystem>
#include <fstream>

#include "absl/time/clock.h"

#include "cri/metrics/test_group.h"

namespace gantry::cri {
namespace {

constexpr absl::Duration kDeadline = absl::Seconds(20);

size_t OpenDescriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

class StatisticsTest : public GroupTest {
 protected:
  void SetUp() override {
    GroupTest::SetUp();
    directory_ =
        std::filesystem::path(::testing::TempDir()) / absl::StrCat("gantry-layer-", getpid());
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override {
    std::filesystem::remove_all(directory_);
    GroupTest::TearDown();
  }
  [[nodiscard]] WritableLayers::Layer Layer() const { return {"container", directory_}; }

  std::filesystem::path directory_;
};

TEST_F(StatisticsTest, HasARateFromTheSecondReadingOn) {
  Statistics statistics(1000);
  const auto first = statistics.Read("container", paths_);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->nano_cores, std::nullopt);
  Worker();
  const auto second = statistics.Read("container", paths_);
  ASSERT_TRUE(second.ok());
  EXPECT_GT(second->nano_cores.value_or(0), 0u);
}

TEST_F(StatisticsTest, HoldsDescriptorsUntilItForgets) {
  Statistics statistics(1000);
  const size_t before = OpenDescriptors();
  ASSERT_TRUE(statistics.Read("container", paths_).ok());
  const size_t open = OpenDescriptors();
  EXPECT_GT(open, before);
  ASSERT_TRUE(statistics.Read("container", paths_).ok());
  EXPECT_EQ(OpenDescriptors(), open);
  statistics.Forget("container");
  EXPECT_EQ(OpenDescriptors(), before);
  statistics.Forget("container");
}

TEST_F(StatisticsTest, HoldsNoMoreThanItsBudget) {
  Statistics statistics(0);
  const size_t before = OpenDescriptors();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(statistics.Read("container", paths_).ok());
  EXPECT_EQ(OpenDescriptors(), before);
  EXPECT_TRUE(statistics.Detail("container", paths_).threads);
  EXPECT_TRUE(statistics.Processes("container", paths_).empty());
  EXPECT_EQ(OpenDescriptors(), before);
}

TEST_F(StatisticsTest, HoldsDescriptorsForDetailUntilItForgets) {
  Statistics statistics(1000);
  const size_t before = OpenDescriptors();
  ASSERT_TRUE(statistics.Read("container", paths_).ok());
  const size_t without = OpenDescriptors();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(statistics.Detail("container", paths_).threads);
  EXPECT_GT(OpenDescriptors(), without);
  EXPECT_LE(OpenDescriptors(), without + static_cast<size_t>(DetailReader::MostDescriptors()));
  statistics.Forget("container");
  EXPECT_EQ(OpenDescriptors(), before);
}

TEST_F(StatisticsTest, HoldsDetailOnlyWhileThereIsRoom) {
  const int group = (*CgroupReader::Open(paths_))->descriptors();
  Statistics statistics(group + DetailReader::MostDescriptors());
  ASSERT_TRUE(statistics.Read("first", paths_).ok());
  EXPECT_TRUE(statistics.Detail("first", paths_).threads);
  const size_t full = OpenDescriptors();
  EXPECT_TRUE(statistics.Detail("second", paths_).threads);
  EXPECT_EQ(OpenDescriptors(), full);
  statistics.Forget("second");
  statistics.Forget("first");
  // What was given back is there for others.
  EXPECT_TRUE(statistics.Detail("second", paths_).threads);
  EXPECT_EQ(OpenDescriptors(), full);
}

TEST_F(StatisticsTest, CountsWritableLayersInTheBackground) {
  Statistics statistics(0);
  statistics.layers().AwaitFirst({Layer()}, kDeadline);
  const auto empty = statistics.layers().Find(Layer());
  ASSERT_TRUE(empty);
  EXPECT_EQ(empty->inodes, 1u);
  EXPECT_GT(empty->counted_at_ns, 0);
  std::ofstream(directory_ / "file") << std::string(1 << 20, 'x') << std::flush;
  const absl::Time deadline = absl::Now() + kDeadline;
  while (statistics.layers().Find(Layer())->inodes < 2 && absl::Now() < deadline)
    absl::SleepFor(absl::Milliseconds(20));
  const auto full = statistics.layers().Find(Layer());
  EXPECT_EQ(full->inodes, 2u);
  EXPECT_GE(full->bytes, empty->bytes + (1 << 20));
  EXPECT_GT(full->counted_at_ns, empty->counted_at_ns);
}

TEST_F(StatisticsTest, WaitsForNoLayerThatIsNotThere) {
  Statistics statistics(0);
  const WritableLayers::Layer missing = {"gone", "/no/such/directory"};
  statistics.layers().AwaitFirst({missing}, kDeadline);
  EXPECT_FALSE(statistics.layers().Find(missing));
}

}  // namespace
}  // namespace gantry::cri
