// What a pod costs in memory: measured and printed with 50 pods, and bounded loosely, for the
// figure that counts is the release build's.
#include <unistd.h>

#include <memory>
#include <vector>

#include "gtest/gtest.h"

#include "shim/test_pod.h"

namespace gantry::shim {
namespace {

constexpr int kPods = 50;

TEST(ShimFootprint, ShimAndPumpAreSmall) {
  if (runtime::MustSkip()) GTEST_SKIP();
  TestDaemon daemon;
  std::vector<std::unique_ptr<TestPod>> pods;
  for (int i = 0; i < kPods; ++i) {
    pods.push_back(std::make_unique<TestPod>(&daemon));
    proto::Request request;
    request.mutable_create_pod()->add_new_namespaces("ipc");
    ASSERT_EQ(pods.back()->Call(request).status(), absl::OkStatus());
    ASSERT_EQ(pods.back()->Run("c", "echo hello; sleep 1000"), absl::OkStatus());
    const ExecOutcome exec = RunExec(pods.back().get(), "c", "e", "true");
    ASSERT_EQ(exec.exit_code, 0) << exec.status;
  }
  // The pump gives its buffer back after a second without output.
  sleep(3);
  Memory shim, pump;
  for (const auto& pod : pods) {
    const Memory one = MemoryOf(pod->shim_pid());
    const Memory other = MemoryOf(pod->pump_pid());
    shim.pss += one.pss;
    shim.private_dirty_and_clean += one.private_dirty_and_clean;
    shim.rss += one.rss;
    pump.pss += other.pss;
    pump.private_dirty_and_clean += other.private_dirty_and_clean;
    pump.rss += other.rss;
  }
  printf(
      "%d pods, mean per process, kB\n  shim: PSS %ld, private %ld, RSS %ld\n"
      "  pump: PSS %ld, private %ld, RSS %ld\n",
      kPods, static_cast<long>(shim.pss / kPods),
      static_cast<long>(shim.private_dirty_and_clean / kPods), static_cast<long>(shim.rss / kPods),
      static_cast<long>(pump.pss / kPods), static_cast<long>(pump.private_dirty_and_clean / kPods),
      static_cast<long>(pump.rss / kPods));
  EXPECT_LT((shim.pss + pump.pss) / kPods, 500);
}

}  // namespace
}  // namespace gantry::shim
