#include "imageservice/live_tree.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"

#include "runtime/linux/unique_fd.h"

namespace gantry::images {
namespace {

bool GoOn() { return false; }

class LiveTreeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::path(::testing::TempDir()) / absl::StrCat("gantry-live-", getpid());
    std::filesystem::create_directories(root_);
  }
  void TearDown() override { (void)RemoveTree(AT_FDCWD, root_); }

  // `depth` directories in one another, made without long paths.
  void MakeDeep(int depth) {
    UniqueFd here(open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (int i = 0; i < depth; ++i) {
      ASSERT_EQ(mkdirat(here.get(), "down", 0755), 0);
      // A neighbour that is only found by coming back up.
      ASSERT_EQ(mkdirat(here.get(), "aside", 0755), 0);
      here.Reset(openat(here.get(), "down", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
  }

  std::filesystem::path root_;
};

TEST_F(LiveTreeTest, CountsAsTheWalkOverAQuietTree) {
  std::filesystem::create_directories(root_ / "a/b");
  std::ofstream(root_ / "a/b/file") << std::string(100000, 'x') << std::flush;
  std::filesystem::create_hard_link(root_ / "a/b/file", root_ / "link");
  std::filesystem::create_symlink("/", root_ / "symlink");
  const auto live = MeasureLiveTree(root_, GoOn);
  ASSERT_TRUE(live.ok()) << live.status();
  EXPECT_TRUE(live->complete);
  EXPECT_EQ(live->usage, *MeasureTree(root_));
  EXPECT_EQ(live->usage.inodes, 5u);
}

TEST_F(LiveTreeTest, HidesNothingInTheDepth) {
  constexpr int kDepth = 3000;  // as a path 15 kB long
  MakeDeep(kDepth);
  const auto live = MeasureLiveTree(root_, GoOn);
  ASSERT_TRUE(live.ok()) << live.status();
  EXPECT_TRUE(live->complete);
  EXPECT_EQ(live->usage.inodes, 2u * kDepth + 1);
}

TEST_F(LiveTreeTest, MindsNothingThatComesAndGoes) {
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    while (!stop) {
      std::error_code ignored;
      std::filesystem::create_directories(root_ / "x/y/z", ignored);
      std::ofstream(root_ / "x/y/z/file") << "text";
      std::filesystem::rename(root_ / "x", root_ / "renamed", ignored);
      std::filesystem::remove_all(root_ / "renamed", ignored);
    }
  });
  for (int i = 0; i < 300; ++i) {
    const auto live = MeasureLiveTree(root_, GoOn);
    EXPECT_TRUE(live.ok()) << live.status();
    EXPECT_GE(live->usage.inodes, 1u);
  }
  stop = true;
  writer.join();
}

TEST_F(LiveTreeTest, EndsWhenItIsEnough) {
  MakeDeep(100);
  const auto live = MeasureLiveTree(root_, [] { return true; });
  ASSERT_TRUE(live.ok()) << live.status();
  EXPECT_FALSE(live->complete);
  EXPECT_LT(live->usage.inodes, 201u);
}

TEST_F(LiveTreeTest, NeedsADirectory) {
  EXPECT_FALSE(MeasureLiveTree(root_ / "missing", GoOn).ok());
}

}  // namespace
}  // namespace gantry::images
