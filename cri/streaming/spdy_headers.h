// Header blocks of SPDY/3.1 (draft-mbelshe-httpbis-spdy-00, section 2.6.10): counted pairs of names
// and values, all blocks of one direction compressed as one zlib stream.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

struct z_stream_s;

namespace gantry::cri::streaming {

// What one block may come to; Kubernetes' clients send three short headers (CVE-2026-35469).
inline constexpr size_t kMaxInflatedHeaderBlock = size_t{64} << 10;
inline constexpr size_t kMaxHeaders = 32;

// In the order sent; a header with several values (they are joined by NUL) is there several times.
using SpdyHeaders = std::vector<std::pair<std::string, std::string>>;

// The peer's direction. Every block that arrives must be read, also those of frames that are of no
// interest: the compression of a block refers to those before it. Not thread-safe.
class SpdyHeaderReader {
 public:
  // Reads the next block, as it stands in SYN_STREAM, SYN_REPLY or HEADERS. Names are not checked.
  // kInvalidArgument: not a piece of this zlib stream, over a limit above, or not made of pairs;
  // kResourceExhausted: no memory for zlib. After an error no later block can be read.
  StatusOr<SpdyHeaders> Read(absl::string_view block);

 private:
  struct End {
    void operator()(z_stream_s* stream) const;
  };

  Status Begin();
  StatusOr<std::string> Inflate(absl::string_view block);

  std::unique_ptr<z_stream_s, End> stream_;  // made for the first block
};

// Our direction's first block and any later one, without a header in them. They are stored and not
// compressed, so that no compressor (256 KiB of it) is kept for every connection.
absl::string_view FirstEmptyHeaderBlock();
absl::string_view NextEmptyHeaderBlock();

}  // namespace gantry::cri::streaming
