// Whether two trees are the same to a container: names, types, modes, owners, times, links of both
// kinds, devices, contents, and the attributes of files and directories, but for security.* other
// than file capabilities, which are the host's. Both are private: nobody changes them meanwhile.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "runtime/base/status.h"

namespace gantry::images {

// Of two files, with buffers that serve for many of them.
class ContentComparison {
 public:
  // `cancelled`: as CompareTrees; outlives this.
  explicit ContentComparison(const std::function<bool()>& cancelled);
  // Both are read from where they stand. The first byte that differs, counted from there, or where
  // the shorter one ends; nothing when they are equal.
  StatusOr<std::optional<uint64_t>> FirstDifference(int kept, int made);

 private:
  const std::function<bool()>& cancelled_;
  std::vector<char> left_, right_;
};

// `kept`, `made`: open for reading. Any depth, with few descriptors; no link is followed, no device
// opened. OK, or kDataLoss with the first difference ("\"usr/bin/env\": its mode is …").
// `cancelled` may be empty; true ends the work with kCancelled.
Status CompareTrees(int kept, int made, const std::function<bool()>& cancelled);

}  // namespace gantry::images
