#include "cri/streaming/tokens.h"

#include <sys/random.h>

#include "absl/strings/escaping.h"

namespace gantry::cri::streaming {

std::string NewToken() {
  char bytes[16];
  GANTRY_CHECK(getrandom(bytes, sizeof bytes, 0) == sizeof bytes);
  return absl::WebSafeBase64Escape(absl::string_view(bytes, sizeof bytes));
}

}  // namespace gantry::cri::streaming
