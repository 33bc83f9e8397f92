// DescriptorBin: descriptors that are done with, closed many at a time.
#pragma once

#include <vector>

#include "runtime/linux/unique_fd.h"

namespace gantry {

// A child that makes dozens of mounts spends a fifth of its system calls on close(2). What is put
// here is closed by close_range(2), one call for each run of neighbours, when the bin is full and
// when it goes.
class DescriptorBin {
 public:
  DescriptorBin() = default;
  DescriptorBin(const DescriptorBin&) = delete;
  DescriptorBin& operator=(const DescriptorBin&) = delete;
  ~DescriptorBin() { Empty(); }

  void Add(UniqueFd fd);
  void Empty();

 private:
  std::vector<int> fds_;
};

}  // namespace gantry
