#include "imageservice/write_behind.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace gantry::images {
namespace {

constexpr auto kTick = std::chrono::milliseconds(50);
constexpr off_t kStep = 4 << 20;  // whole ones: the last one may still be filled

}  // namespace

WriteBehind::WriteBehind(UniqueFd file) : file_(std::move(file)), thread_([this] { Run(); }) {}

WriteBehind::~WriteBehind() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  thread_.join();
}

void WriteBehind::Run() {
  off_t begun = 0;
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, kTick, [this] { return stop_; })) {
    lock.unlock();
    struct stat info = {};
    const off_t whole = fstat(file_.get(), &info) == 0 ? info.st_size / kStep * kStep : 0;
    if (whole > begun)
      static_cast<void>(sync_file_range(file_.get(), begun, whole - begun, SYNC_FILE_RANGE_WRITE));
    begun = std::max(begun, whole);
    lock.lock();
  }
}

}  // namespace gantry::images
