#include "imageservice/block_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "imageservice/layer_rules.h"

namespace gantry::images {

bool PassPageCache(int fd) {
  struct statx info = {};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) != 0) return false;
  const auto fits = [](uint32_t alignment) {  // 0: no direct writes, as where files are encrypted
    return alignment > 0 && alignment <= BlockWriter::kAlignment;
  };
  const bool offered = (info.stx_mask & STATX_DIOALIGN) != 0;
  if (!offered || !fits(info.stx_dio_mem_align) || !fits(info.stx_dio_offset_align)) return false;
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT) != 0) return false;
  // Who writes cannot take it back.
  alignas(BlockWriter::kAlignment) static constexpr char kBlock[BlockWriter::kAlignment] = {};
  const bool taken = WriteAt(fd, 0, {kBlock, sizeof(kBlock)}, "").ok() && ftruncate(fd, 0) == 0;
  if (!taken) (void)fcntl(fd, F_SETFL, flags);
  return taken;
}

void BlockWriter::Free::operator()(char* memory) const { free(memory); }

BlockWriter::~BlockWriter() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_state_ == Thread::kRuns) pthread_join(thread_, nullptr);
}

// Not std::thread, which cannot say that there is none: limits of processes count threads too.
bool BlockWriter::HasThread() {
  if (thread_state_ == Thread::kNone) {
    const bool made = pthread_create(&thread_, nullptr, Run, this) == 0;
    thread_state_ = made ? Thread::kRuns : Thread::kRefused;
  }
  return thread_state_ == Thread::kRuns;
}

char* BlockWriter::Buffer() {
  if (filling_ != nullptr) return filling_.get();
  std::unique_lock lock(mutex_);
  if (free_.empty() && made_ < kBuffers) {
    ++made_;
    filling_.reset(static_cast<char*>(aligned_alloc(kAlignment, kBufferBytes)));
    GANTRY_CHECK(filling_ != nullptr);
    return filling_.get();
  }
  changed_.wait(lock, [this] { return !free_.empty(); });
  filling_ = std::move(free_.back());
  free_.pop_back();
  return filling_.get();
}

Status BlockWriter::Write(size_t size, uint64_t offset) {
  GANTRY_CHECK(filling_ != nullptr && size <= kBufferBytes);
  GANTRY_CHECK(size % kAlignment == 0 && offset % kAlignment == 0);
  if (!HasThread()) return failure_ = WriteAt(fd_, offset, {filling_.get(), size}, "");
  {
    const std::lock_guard lock(mutex_);
    if (!failure_.ok()) return failure_;
    waiting_.push_back({std::move(filling_), size, offset});
  }
  changed_.notify_all();
  return absl::OkStatus();
}

Status BlockWriter::Finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return waiting_.empty(); });
  return failure_;
}

void* BlockWriter::Run(void* writer) {
  static_cast<BlockWriter*>(writer)->WriteAll();
  return nullptr;
}

void BlockWriter::WriteAll() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
    if (stop_) return;
    Piece& piece = waiting_.front();  // of a deque: stays where it is
    if (failure_.ok()) {
      lock.unlock();
      Status written = WriteAt(fd_, piece.offset, {piece.memory.get(), piece.size}, "");
      lock.lock();
      failure_ = std::move(written);
    }
    free_.push_back(std::move(piece.memory));
    waiting_.pop_front();
    changed_.notify_all();
  }
}

}  // namespace gantry::images
