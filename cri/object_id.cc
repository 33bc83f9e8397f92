#include "cri/object_id.h"

#include <sys/random.h>

#include "absl/strings/escaping.h"

#include "runtime/base/status.h"

namespace gantry::cri {

std::string NewObjectId() {
  char bytes[32];
  // 32 bytes come whole and never block once the kernel's pool is up, which is long before us
  // (getrandom(2)).
  GANTRY_CHECK(getrandom(bytes, sizeof bytes, 0) == sizeof bytes);
  return absl::BytesToHexString(absl::string_view(bytes, sizeof bytes));
}

}  // namespace gantry::cri
