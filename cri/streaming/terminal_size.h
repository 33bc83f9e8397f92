// Sizes that a client sends on the resize channel: JSON objects {"Width":80,"Height":24}, one after
// another, cut anywhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace gantry::cri::streaming {

struct TerminalSize {
  uint16_t width = 0, height = 0;
};

class TerminalSizeReader {
 public:
  // The newest size in what has come so far; nothing when no object has ended, or none was valid:
  // both sides from 1 to 65535. Anything else is skipped.
  std::optional<TerminalSize> Receive(absl::string_view data);

 private:
  std::string object_;  // what there is of one that has begun
  int depth_ = 0;
};

}  // namespace gantry::cri::streaming
