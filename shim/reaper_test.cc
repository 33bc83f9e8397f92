#include "shim/reaper.h"

#include <unistd.h>

#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "gtest/gtest.h"

#include "shim/event_loop.h"

namespace gantry::shim {
namespace {

class ReaperTest : public ::testing::Test {
 protected:
  void SetUp() override {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &set, &before_), 0);
    auto loop = EventLoop::Create();
    ASSERT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
    auto reaper = Reaper::Create(loop_.get());
    ASSERT_TRUE(reaper.ok()) << reaper.status();
    reaper_ = *std::move(reaper);
  }
  void TearDown() override { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  static pid_t Fork(int code) {
    const pid_t child = fork();
    if (child == 0) _exit(code);
    return child;
  }
  // Until `done` or for 10 s.
  template <typename Done>
  void RunUntil(Done done) {
    const auto bound = loop_->After(absl::Seconds(10), [this] { loop_->Quit(); });
    EventLoop::Timer look;
    std::function<void()> check = [&] {
      if (done()) return loop_->Quit();
      look = loop_->After(absl::Milliseconds(1), check);
    };
    look = loop_->After(absl::ZeroDuration(), check);
    EXPECT_TRUE(loop_->Run().ok());
  }

  sigset_t before_{};
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Reaper> reaper_;
};

TEST_F(ReaperTest, AChildsEndIsToldOnce) {
  std::optional<int> code;
  const Reaper::Child child =
      reaper_->Watch(Fork(7), [&](ExitStatus status) { code = status.Code(); });
  RunUntil([&] { return code.has_value(); });
  EXPECT_EQ(code, 7);
}

// Whoever watched a child may be kept long after its end, and its pid is another's by then.
TEST_F(ReaperTest, TheWatcherOfAPidBeforeDoesNotTakeTheNextOnesAway) {
  const pid_t pid = Fork(9);
  Reaper::Child before = reaper_->Watch(pid, [](ExitStatus) { ADD_FAILURE() << "the wrong one"; });
  std::optional<int> code;
  const Reaper::Child now = reaper_->Watch(pid, [&](ExitStatus status) { code = status.Code(); });
  before.Reset();
  RunUntil([&] { return code.has_value(); });
  EXPECT_EQ(code, 9);
}

}  // namespace
}  // namespace gantry::shim
