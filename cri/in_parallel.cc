#include "cri/in_parallel.h"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

namespace gantry::cri {
namespace {

constexpr size_t kFew = 8;  // take less time than a thread to start
constexpr size_t kMostThreads = 3;

}  // namespace

void InParallel(size_t count, const std::function<void(size_t)>& work) {
  std::atomic<size_t> next = 0;
  const auto take = [&] {
    for (size_t i = next++; i < count; i = next++) work(i);
  };
  const size_t cores = std::max(1U, std::thread::hardware_concurrency());
  std::vector<std::thread> threads;
  try {
    while (count > kFew && threads.size() < std::min(kMostThreads, cores - 1))
      threads.emplace_back(take);
  } catch (const std::system_error&) {
    // No more threads for us: the caller does what is left.
  }
  take();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace gantry::cri
