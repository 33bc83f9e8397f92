// The words that SPDY/3's header compression knows from the start: a constant of the protocol
// (draft-mbelshe-httpbis-spdy-00, section 2.6.10.1), as both ends of a zlib stream must have it.
#pragma once

#include "absl/strings/string_view.h"

namespace gantry::cri::streaming {

// 1423 bytes, for inflateSetDictionary and deflateSetDictionary; lives as long as the process.
absl::string_view SpdyDictionary();

}  // namespace gantry::cri::streaming
