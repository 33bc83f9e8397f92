// Tells when something in a folder has changed, also when the folder itself comes, goes or is
// replaced. inotify(7).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"

#include "runtime/linux/unique_fd.h"

namespace gantry::cri {

// A thread that calls `changed` once it has been quiet for `quiet` after a change (at most ten
// times that after the first one), and every `period` in any case: that catches what inotify cannot
// see (a network file system) and stands in for it where the kernel gives no instance any more
// (fs.inotify.max_user_instances). Watched are the folder, the folders in it, and those above.
class DirectoryWatch {
 public:
  struct Timing {
    absl::Duration quiet = absl::Milliseconds(200);
    absl::Duration period = absl::Seconds(5);
  };

  // `changed` is called from the thread alone, never after the destructor has returned.
  DirectoryWatch(std::string path, Timing timing, std::function<void()> changed);
  ~DirectoryWatch();
  DirectoryWatch(const DirectoryWatch&) = delete;
  DirectoryWatch& operator=(const DirectoryWatch&) = delete;

 private:
  struct Watched {
    std::string folder;
    std::string child;   // the entry that matters; empty: all do
    uint64_t inode = 0;  // another one: the folder was replaced
    int descriptor = -1;
  };

  void Run();
  [[nodiscard]] std::vector<Watched> Plan() const;
  void Arm();
  bool ReadEvents();                  // whether one of them matters
  bool WaitUntilQuiet();              // false: the end
  int Poll(absl::Duration patience);  // as poll(2) of the events; -1: the end

  const std::string path_;
  const Timing timing_;
  const std::function<void()> changed_;
  std::atomic<bool> ended_{false};
  UniqueFd ending_;  // eventfd: wakes the thread
  UniqueFd inotify_;
  std::vector<Watched> watched_;
  std::thread thread_;
};

}  // namespace gantry::cri
