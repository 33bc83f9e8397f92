// A big blob over a slow network, and everything that can end in the middle of it.
#include <signal.h>

#include <algorithm>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"

#include "imageservice/testing_faults.h"
#include "imageservice/testing_pull.h"

namespace gantry::images {
namespace {

constexpr size_t kSize = 76'000'000;

class Resuming : public PullTest {
 protected:
  Resuming() {
    image_.AddLayer(TarWithFile("big", kSize), TestCompression::kNone);
    registry_.memory().Add("a/b", "1", image_);
    registry_.Break(Layer(), ThrottleAll(13'000'000));
  }
  const std::string& Layer() const { return image_.layers()[0].digest; }
  std::string Name() const { return absl::StrCat(registry_.host(), "/a/b:1"); }
  std::filesystem::path File() const {
    return directory_ / "resume" / absl::StrCat("sha256-", Layer().substr(7));
  }
  bool HasNinePercentOfTen() const {
    std::error_code error;
    const auto size = std::filesystem::file_size(File(), error);
    return !error && size >= kSize / 10 * 9;
  }
  // The next pull is right, and fetches what was missing.
  void ExpectOnlyTheRestIsFetched() {
    const size_t before = registry_.RangesOf(Layer()).size();
    const auto pulled = Pull(Name());
    ASSERT_TRUE(pulled.ok()) << pulled.status();
    EXPECT_TRUE(IsInStore(**pulled));
    const auto ranges = registry_.RangesOf(Layer());
    ASSERT_GT(ranges.size(), before);
    for (size_t i = before; i < ranges.size(); ++i) {
      uint64_t first = 0;
      ASSERT_TRUE(absl::StartsWith(ranges[i], "bytes=")) << "\"" << ranges[i] << "\"";
      ASSERT_TRUE(absl::SimpleAtoi(ranges[i].substr(6, ranges[i].find('-') - 6), &first));
      EXPECT_GE(first, kSize / 10 * 9 - 8192) << ranges[i];
    }
    EXPECT_FALSE(std::filesystem::exists(File())) << "the layer is here";
    EXPECT_EQ(store_->resume_files().Usage().inodes, 0u);
  }
  // Piece by piece: user-mode Linux maps each page by itself, and the host limits their number.
  bool IsInStore(const Image& image) const {
    const absl::string_view expected =
        absl::string_view(image_.layers()[0].bytes).substr(512, kSize);
    std::ifstream file(std::filesystem::path(store_->LayerPath(image.layers[0])) / "big");
    std::string piece(1 << 20, '\0');
    size_t at = 0;
    while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())) ||
           file.gcount() > 0) {
      const absl::string_view read(piece.data(), static_cast<size_t>(file.gcount()));
      if (expected.substr(std::min(at, kSize), read.size()) != read) return false;
      at += read.size();
    }
    return at == kSize;
  }

  TestImage image_;
  FaultRegistry registry_;
};

TEST_F(Resuming, APullerKilledAtNinetyPercentLeavesTheRestToTheNextPull) {
  PullRequest request;
  request.reference = Name();
  bool killed = false;
  request.progress = [&](const PullProgress&) {
    if (killed || !HasNinePercentOfTen()) return;
    const std::vector<int> pids = ChildPids();
    kill(*std::min_element(pids.begin(), pids.end()), SIGKILL);
    killed = true;
  };
  EXPECT_EQ(puller_->Pull(request).status().code(), absl::StatusCode::kInternal);
  const auto usage = store_->DiskUsage();
  EXPECT_GE(usage.bytes, kSize / 10 * 9) << "what is kept is counted";
  ExpectOnlyTheRestIsFetched();
}

// The daemon of the next test: a process of its own that can be killed whole. Its arguments are
// behind the test's.
TEST(ResumingDaemon, DISABLED_Pulls) {
  const std::vector<std::string> arguments = absl::StrSplit(ReadText("/proc/self/cmdline"), '\0');
  ASSERT_GE(arguments.size(), 4u);
  const std::string& name = arguments[arguments.size() - 3];
  auto store = ImageStore::Open(arguments[arguments.size() - 2]);
  ASSERT_TRUE(store.ok()) << store.status();
  PullerOptions options;
  options.puller_binary = GANTRY_BIN_DIR "/gantry-puller";
  options.unpacker_binary = GANTRY_BIN_DIR "/gantry-unpacker";
  Puller puller(store->get(), options);
  PullRequest request;
  request.reference = name;
  static_cast<void>(puller.Pull(request));
}

TEST_F(Resuming, AKilledDaemonLeavesTheRestToTheNextOne) {
  puller_.reset();
  store_.reset();
  auto daemon =
      ChildProcess::Start("/proc/self/exe",
                          {"--gtest_filter=ResumingDaemon.*", "--gtest_also_run_disabled_tests",
                           Name(), directory_.string()},
                          {});
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  ASSERT_TRUE(Eventually([&] { return HasNinePercentOfTen(); }, 60));
  EXPECT_EQ(daemon->End(std::chrono::milliseconds(0)), "signal 9");
  OpenStore();
  ExpectOnlyTheRestIsFetched();
}

TEST_F(Resuming, ACancelledPullLeavesTheRestAndWrongBytesDoNot) {
  // Slow enough for a busy machine to notice the end coming.
  registry_.Repair();
  registry_.Break(Layer(), ThrottleAll(5'000'000));
  PullRequest request;
  request.reference = Name();
  request.cancelled = [&] { return HasNinePercentOfTen(); };
  EXPECT_EQ(puller_->Pull(request).status().code(), absl::StatusCode::kCancelled);
  ASSERT_TRUE(Eventually([&] { return ChildPids().empty(); }));
  // Somebody spoils what was left, behind the last record; the digest finds it, and the pull
  // begins anew by itself.
  {
    std::fstream file(File(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(68'200'000);
    file << "spoiled";
  }
  registry_.Repair();
  const auto pulled = Pull(Name());
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_TRUE(IsInStore(**pulled));
  EXPECT_FALSE(std::filesystem::exists(File()));
}

TEST_F(Resuming, AFastNetworkIsNotWorthACopy) {
  registry_.Repair();
  uint64_t most = 0;
  PullRequest request;
  request.reference = Name();
  request.progress = [&](const PullProgress&) {
    most = std::max(most, store_->resume_files().Usage().bytes);
  };
  const auto started = std::chrono::steady_clock::now();
  const auto pulled = puller_->Pull(request);
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  if (std::chrono::steady_clock::now() - started > std::chrono::seconds(2))
    GTEST_SKIP() << "no fast network: the pull took more than 2 s";
  EXPECT_LT(most, 20'000'000u);
  EXPECT_FALSE(std::filesystem::exists(File()));
}

TEST_F(Resuming, OldFilesAndFilesThatAreNoneAreCollected) {
  std::filesystem::create_directories(directory_ / "resume");
  std::ofstream(File()) << "something";
  std::ofstream(directory_ / "resume" / "no digest") << "something";
  puller_.reset();
  store_.reset();
  OpenStore();
  EXPECT_FALSE(std::filesystem::exists(directory_ / "resume" / "no digest"));
  EXPECT_EQ(store_->resume_files().Usage().inodes, 1u);
  store_->CollectUnused(std::chrono::hours(24));
  EXPECT_TRUE(std::filesystem::exists(File())) << "it is not a day old";
  std::filesystem::last_write_time(
      File(), std::filesystem::file_time_type::clock::now() - std::chrono::hours(25));
  store_->CollectUnused(std::chrono::hours(24));
  EXPECT_FALSE(std::filesystem::exists(File()));
  EXPECT_EQ(store_->resume_files().Usage().inodes, 0u);
}

}  // namespace
}  // namespace gantry::images
