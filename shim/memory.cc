#include "shim/memory.h"

#include <malloc.h>
#include <sys/mman.h>

#include <cstdint>

namespace gantry::shim {
namespace {

constexpr uintptr_t kPage = 4096;
constexpr uintptr_t kDeepest = 256 << 10;

// Not inlined: its frame is the deepest that is in use.
[[gnu::noinline]] void ReleaseStack() {
  char* here = static_cast<char*>(__builtin_frame_address(0));
  // Below us are the red zone and the frame of madvise itself. Parts that are not mapped are an
  // error that does not matter: the others have been released by then.
  char* end = here - reinterpret_cast<uintptr_t>(here) % kPage - kPage;
  madvise(end - kDeepest, kDeepest, MADV_DONTNEED);
}

}  // namespace

void ConfigureMemory() {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MXFAST, 0);  // free chunks join their neighbours at once
  mallopt(M_TOP_PAD, 0);
  mallopt(M_TRIM_THRESHOLD, 32 << 10);
  mallopt(M_MMAP_THRESHOLD, 32 << 10);
}

void ReleaseMemory() {
  malloc_trim(0);
  ReleaseStack();
}

}  // namespace gantry::shim
