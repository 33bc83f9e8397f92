// A byte stream from a broken peer: whole, and cut at each byte, it gives the same frames.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"

#include "shim/frame.h"

namespace {

size_t Frames(absl::string_view bytes, size_t piece) {
  gantry::shim::FrameDecoder decoder;
  std::vector<gantry::shim::Frame> frames;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    if (!decoder.Feed(bytes.substr(at, piece), {}, &frames).ok()) break;
  }
  return frames.size();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (Frames(bytes, size == 0 ? 1 : size) != Frames(bytes, 1)) __builtin_trap();
  return 0;
}
