// Turns the bytes of a layer into its tar stream: gzip (any number of members), zstd (any number of
// frames) or plain, told apart by their first bytes. Never another program, never a whole layer in
// memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry::images {

enum class Compression { kUnknown, kPlain, kGzip, kZstd };

struct InflateLimits {
  uint64_t max_output = 200ull << 30;
  // A bomb: more than `max_ratio` bytes out per byte in, once `ratio_after` bytes are out.
  uint64_t max_ratio = 1000;
  uint64_t ratio_after = 64ull << 20;
  int zstd_window_log = 27;           // 128 MiB
  uint32_t max_empty_members = 1024;  // gzip members that hold nothing
};

// One thread at a time; used once.
class Inflater {
 public:
  // Takes pieces of up to 256 KiB; an error of it ends the work and is returned as it is.
  using Sink = absl::FunctionRef<Status(absl::string_view)>;

  explicit Inflater(const InflateLimits& limits);
  ~Inflater();

  // kDataLoss: damaged (the checksums of the formats are verified); kResourceExhausted: over a
  // limit.
  Status Feed(absl::string_view bytes, Sink sink);
  // Call once after the last byte. kDataLoss when a member or frame is cut short.
  Status Finish(Sink sink);

  Compression compression() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gantry::images
