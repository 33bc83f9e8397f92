// Work that goes by in many small reads of the kernel, on several threads.
#pragma once

#include <cstddef>
#include <functional>

namespace gantry::cri {

// Calls `work` once with each number below `count`, in any order, and returns when all calls have.
// A few numbers are done by the caller alone; of more, up to three threads take their part.
void InParallel(size_t count, const std::function<void(size_t)>& work);

}  // namespace gantry::cri
