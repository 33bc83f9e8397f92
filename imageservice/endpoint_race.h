// Asking several servers for one thing: one after another as they fail, and the next one already
// when one stays silent (hedging). The first that answers wins; the others are called off.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "runtime/base/status.h"

namespace gantry::images {

// A server that has not answered for so long lets the next one start too.
inline constexpr std::chrono::milliseconds kHedgeAfter{2000};

class EndpointRace {
 public:
  // What a runner says to its race. Valid while it runs.
  class Lane {
   public:
    Lane(EndpointRace* race, size_t index) : race_(race), index_(index) {}
    // An answer has come. True: it is the first one, the result is this runner's to make. False:
    // another one has it; give up.
    bool Claim();
    // Another one has it.
    bool lost() const;
    // This runner's failure is the race's: nobody else shall try.
    void EndRace();

   private:
    friend class EndpointRace;
    bool Lost() const;  // under the race's lock
    EndpointRace* race_;
    size_t index_;
    // It was told so: what it then returns is no failure, also when the other one has failed since.
    mutable bool told_lost_ = false;
  };
  // Runs in a thread of its own; how the attempt ended.
  using Runner = std::function<Status(size_t index, Lane& lane)>;

  EndpointRace(size_t count, Runner runner)
      : runner_(std::move(runner)), failures_(count), count_(count) {}

  // Starts runners 0, 1, … `count`-1 as described above, and waits until one has succeeded (OK),
  // one has ended the race (its status), or all have failed (the last one's status). A runner that
  // had claimed and then failed makes room for the others, those that lost to it too. Once.
  Status Run();
  // How the runners failed, by index; nothing for those that did not run or were called off.
  const std::vector<std::optional<Status>>& failures() const { return failures_; }

 private:
  void RunLane(size_t index);

  const Runner runner_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<size_t> waiting_;
  std::optional<size_t> winner_, ender_;
  std::optional<Status> result_;
  int running_ = 0;
  std::vector<std::optional<Status>> failures_;
  const size_t count_;
  std::vector<std::thread> threads_;
};

}  // namespace gantry::images
