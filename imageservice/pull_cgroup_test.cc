// Pullers and unpackers in a group of their own.
#include "imageservice/pull_cgroup.h"

#include <sched.h>

#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"

#include "imageservice/testing_faults.h"
#include "imageservice/testing_pull.h"
#include "runtime/linux/cgroup.h"

namespace gantry::images {
namespace {

using ::testing::Contains;

std::vector<int> Threads(int pid) {
  std::vector<int> threads;
  std::error_code error;  // it may end meanwhile
  std::filesystem::directory_iterator tasks(absl::StrCat("/proc/", pid, "/task"), error);
  for (; !error && tasks != std::filesystem::end(tasks); tasks.increment(error))
    threads.push_back(atoi(tasks->path().filename().c_str()));
  return threads;
}

class PullsInACgroup : public PullTest {
 protected:
  void SetUp() override {
    PullTest::SetUp();
    if (IsSkipped()) return;
    const auto host = DetectCgroupHost();
    if (!host.ok()) GTEST_SKIP() << "needs cgroups: " << host.status();
    path_ = absl::StrCat("/gantry-pull-test-", getpid());
    paths_ = *CgroupPathsFor(*host, path_);
    options_.cgroup = path_;
    puller_ = std::make_unique<Puller>(store_.get(), options_);
    // Where the machine lets nobody make groups the puller has said so and goes on.
    if (!std::filesystem::exists(paths_.DirOf("cpu"))) GTEST_SKIP() << "no cgroup can be made here";
  }
  void TearDown() override {
    puller_.reset();
    if (path_.empty()) return;
    const Status removed = RemoveCgroup(paths_, std::chrono::seconds(5));
    EXPECT_TRUE(removed.ok()) << removed;
  }
  // The lines of /proc/PID/cgroup in which controllers count that this host has.
  bool IsInside(int pid) const {
    bool inside = true;
    const std::string text = ReadText(absl::StrCat("/proc/", pid, "/cgroup"));
    for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
      const bool counts = parts[1].empty()
                              ? !paths_.unified_dir.empty()
                              : parts[1] == "cpu" || parts[1] == "memory" || parts[1] == "blkio";
      if (counts && parts[2] != path_) inside = false;
    }
    return inside && absl::StrContains(text, path_);
  }

  std::string path_;
  CgroupPaths paths_;
};

TEST_F(PullsInACgroup, AllChildrenAreInItAndItsWeightsAreLow) {
  TestImage image;
  image.AddLayer(TarWithFile("f", 3'000'000), TestCompression::kNone);
  FaultRegistry registry;
  registry.memory().Add("a/b", "1", image);
  registry.Break(image.layers()[0].digest, Throttle(2'000'000));
  bool inside = false;
  PullRequest request;
  request.reference = absl::StrCat(registry.host(), "/a/b:1");
  request.cancelled = [&] {
    const std::vector<int> pids = ChildPids();
    if (pids.size() == 2) inside = inside || (IsInside(pids[0]) && IsInside(pids[1]));
    return false;
  };
  const auto pulled = puller_->Pull(request);
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_TRUE(inside);
  if (paths_.IsV1("cpu")) {
    EXPECT_EQ(ReadText(paths_.DirOf("cpu") + "/cpu.shares"), "204\n");
  } else if (std::filesystem::exists(paths_.unified_dir + "/cpu.weight")) {
    EXPECT_EQ(ReadText(paths_.unified_dir + "/cpu.weight"), "20\n");
  }
}

TEST_F(PullsInACgroup, TheBiggestLayerGoesFirst) {
  TestImage image;  // the biggest ends first, and the next one takes its place
  image.AddLayer(TarWithFile("small", 2'000'000, 1), TestCompression::kNone)
      .AddLayer(TarWithFile("big", 4'000'000, 2), TestCompression::kNone)
      .AddLayer(TarWithFile("middle", 3'000'000, 3), TestCompression::kNone);
  FaultRegistry registry;
  registry.memory().Add("a/b", "1", image);
  registry.Break(image.layers()[0].digest, Throttle(500'000));
  registry.Break(image.layers()[1].digest, Throttle(4'000'000));
  registry.Break(image.layers()[2].digest, Throttle(500'000));
  bool mixed = false, mixed_before = false;  // an unpacker whose threads differ
  std::set<std::pair<size_t, size_t>>
      seen;  // unpackers, and how many of them are in the background
  PullRequest request;
  request.reference = absl::StrCat(registry.host(), "/a/b:1");
  request.cancelled = [&] {
    size_t all = 0, background = 0;
    bool mixed_now = false;
    for (const int pid : ChildPids()) {
      if (ReadText(absl::StrCat("/proc/", pid, "/comm")) != "gantry-unpacker\n") continue;
      ++all;
      const int policy = sched_getscheduler(pid);
      background += policy == SCHED_IDLE ? 1 : 0;
      for (const int thread : Threads(pid)) {
        const int other = sched_getscheduler(thread);
        mixed_now = mixed_now || (other >= 0 && other != policy);
      }
    }
    // Another thread is just setting them; the next look sees them alike.
    mixed = mixed || (mixed_now && mixed_before);
    mixed_before = mixed_now;
    seen.insert({all, background});
    return false;
  };
  const auto pulled = puller_->Pull(request);
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_FALSE(mixed);
  EXPECT_THAT(seen, Contains(std::pair<size_t, size_t>(3, 2)));
  EXPECT_THAT(seen, Contains(std::pair<size_t, size_t>(2, 1)));
  EXPECT_THAT(seen, Contains(std::pair<size_t, size_t>(1, 0)));
}

TEST_F(PullsInACgroup, AGroupThatSomebodyRemovedIsNoReasonNotToPull) {
  ASSERT_TRUE(RemoveCgroup(paths_, std::chrono::seconds(5)).ok());
  TestImage image;
  image.AddLayer(TarArchive().File("f", "x").Finish());
  FaultRegistry registry;
  registry.memory().Add("a/b", "1", image);
  PullRequest request;
  request.reference = absl::StrCat(registry.host(), "/a/b:1");
  const auto pulled = puller_->Pull(request);
  EXPECT_TRUE(pulled.ok()) << pulled.status();
}

}  // namespace
}  // namespace gantry::images
