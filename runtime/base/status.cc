#include "runtime/base/status.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace gantry {
namespace {

constexpr char kErrnoPayload[] = "gantry/errno";

}  // namespace

Status SyscallError(absl::string_view call, absl::string_view object, int error) {
  char buffer[128];
  const char* text = strerror_r(error, buffer, sizeof buffer);
  Status status = absl::InternalError(object.empty() ? absl::StrCat(call, ": ", text)
                                                     : absl::StrCat(call, " ", object, ": ", text));
  return WithErrno(std::move(status), error);
}

Status WithErrno(Status status, int error) {
  status.SetPayload(kErrnoPayload, absl::Cord(absl::StrCat(error)));
  return status;
}

int ErrnoOf(const Status& status) {
  int error = 0;
  if (auto payload = status.GetPayload(kErrnoPayload); payload.has_value()) {
    if (!absl::SimpleAtoi(std::string(*payload), &error)) return 0;
  }
  return error;
}

Status Annotate(const Status& status, absl::string_view context) {
  if (status.ok()) return status;
  Status annotated(status.code(), absl::StrCat(context, ": ", status.message()));
  status.ForEachPayload([&annotated](absl::string_view type, const absl::Cord& payload) {
    annotated.SetPayload(type, payload);
  });
  return annotated;
}

namespace base_internal {

void CheckFailed(const char* file, int line, const char* condition) {
  dprintf(STDERR_FILENO, "%s:%d: invariant does not hold: %s\n", file, line, condition);
  abort();
}

}  // namespace base_internal
}  // namespace gantry
