#include "cri/in_parallel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace gantry::cri {
namespace {

TEST(InParallel, DoesEachNumberOnce) {
  for (const size_t count : {0, 1, 8, 9, 1000}) {
    std::vector<std::atomic<int>> done(count);
    InParallel(count, [&done](size_t i) { ++done[i]; });
    for (size_t i = 0; i < count; ++i) EXPECT_EQ(done[i], 1) << i << " of " << count;
  }
}

}  // namespace
}  // namespace gantry::cri
