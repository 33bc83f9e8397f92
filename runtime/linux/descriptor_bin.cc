#include "runtime/linux/descriptor_bin.h"

#include <algorithm>

namespace gantry {
namespace {

// Small against any limit of open files.
constexpr size_t kCapacity = 64;

}  // namespace

void DescriptorBin::Add(UniqueFd fd) {
  if (!fd.valid()) return;
  fds_.push_back(fd.Release());
  if (fds_.size() >= kCapacity) Empty();
}

void DescriptorBin::Empty() {
  std::sort(fds_.begin(), fds_.end());
  for (size_t i = 0; i < fds_.size();) {
    size_t end = i + 1;
    while (end < fds_.size() && fds_[end] == fds_[end - 1] + 1) ++end;
    close_range(static_cast<unsigned>(fds_[i]), static_cast<unsigned>(fds_[end - 1]), 0);
    i = end;
  }
  fds_.clear();
}

}  // namespace gantry
