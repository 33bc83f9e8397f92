#include "imageservice/fetch_budget.h"

#include <sys/mman.h>

#include "runtime/base/status.h"

namespace gantry::images {

FetchBudget::~FetchBudget() { GANTRY_CHECK(buffers_ == 0 && all_connections_ == 0); }

// Mapped, not allocated: what is given back is the kernel's at once, whatever the heap looks like.
char* FetchBudget::TakeBuffer(size_t owned) {
  if (owned >= kPiecesPerBlob) return nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (owned > 0 && buffers_ >= kPiecesPerPull) return nullptr;
    ++buffers_;
  }
  void* buffer =
      mmap(nullptr, kPieceSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (buffer != MAP_FAILED) return static_cast<char*>(buffer);
  const std::lock_guard lock(mutex_);
  --buffers_;
  return nullptr;
}

void FetchBudget::GiveBuffer(char* buffer) {
  if (buffer == nullptr) return;
  munmap(buffer, kPieceSize);
  const std::lock_guard lock(mutex_);
  --buffers_;
}

bool FetchBudget::TakeConnection(const std::string& origin) {
  const std::lock_guard lock(mutex_);
  int& of_host = connections_[origin];
  if (of_host >= kRangeConnectionsPerHost || all_connections_ >= kRangeConnectionsPerPull)
    return false;
  ++of_host;
  ++all_connections_;
  return true;
}

void FetchBudget::GiveConnection(const std::string& origin) {
  const std::lock_guard lock(mutex_);
  --connections_[origin];
  --all_connections_;
}

}  // namespace gantry::images
