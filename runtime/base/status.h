// Errors: absl::Status everywhere, no exceptions of ours. This header adds what Debian 12's abseil
// lacks.
//
// A message reads outside in, ids quoted, without a full stop:
//   start container "ab12": pivot_root /run/gantry/rootfs: Invalid argument
#pragma once

#include <cerrno>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry {

using ::absl::Status;
using ::absl::StatusOr;

// The failure of a system call: "<call> <object>: <strerror>", always kInternal, with the errno
// kept as a payload. Never kNotFound: a kubelet takes NotFound for "the container is gone".
// `object` may be empty.
[[nodiscard]] Status SyscallError(absl::string_view call, absl::string_view object = "",
                                  int error = errno);

// The errno that SyscallError kept (it survives Annotate), 0 when there is none.
[[nodiscard]] int ErrnoOf(const Status& status);

// `status` with that errno as its payload: for an error that comes from another process, or has
// words of its own.
[[nodiscard]] Status WithErrno(Status status, int error);

// Prefixes the message with "<context>: "; keeps code and payloads. An OK status is returned as it
// is.
[[nodiscard]] Status Annotate(const Status& status, absl::string_view context);

namespace base_internal {
inline const Status& StatusOf(const Status& status) { return status; }
template <typename T>
const Status& StatusOf(const StatusOr<T>& value) {
  return value.status();
}
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);
}  // namespace base_internal
}  // namespace gantry

#define GANTRY_CONCAT_INNER(a, b) a##b
#define GANTRY_CONCAT(a, b) GANTRY_CONCAT_INNER(a, b)

// Returns the status of `expression` from the enclosing function when it is not OK.
#define RETURN_IF_ERROR(expression)                                          \
  do {                                                                       \
    if (auto gantry_status = (expression); !gantry_status.ok()) [[unlikely]] \
      return gantry_status;                                                  \
  } while (false)

// As RETURN_IF_ERROR, with "<context>: " before the message.
#define RETURN_IF_ERROR_CONTEXT(expression, context)                         \
  do {                                                                       \
    if (auto gantry_status = (expression); !gantry_status.ok()) [[unlikely]] \
      return ::gantry::Annotate(gantry_status, context);                     \
  } while (false)

// ASSIGN_OR_RETURN(auto fd, Open(path)): declares or assigns the value, or returns the error.
#define ASSIGN_OR_RETURN(left, expression) \
  GANTRY_ASSIGN_OR_RETURN(GANTRY_CONCAT(gantry_value_, __LINE__), left, expression)
#define GANTRY_ASSIGN_OR_RETURN(temporary, left, expression) \
  auto temporary = (expression);                             \
  if (!temporary.ok()) [[unlikely]]                          \
    return temporary.status();                               \
  left = std::move(temporary).value()

// As ASSIGN_OR_RETURN, with "<context>: " before the message.
#define ASSIGN_OR_RETURN_CONTEXT(left, expression, context) \
  GANTRY_ASSIGN_OR_RETURN_CONTEXT(GANTRY_CONCAT(gantry_value_, __LINE__), left, expression, context)
#define GANTRY_ASSIGN_OR_RETURN_CONTEXT(temporary, left, expression, context) \
  auto temporary = (expression);                                              \
  if (!temporary.ok()) [[unlikely]]                                           \
    return ::gantry::Annotate(temporary.status(), context);                   \
  left = std::move(temporary).value()

// An invariant of our own code; aborts with file and line. Never for input or an answer of the
// kernel.
#define GANTRY_CHECK(condition)                                             \
  do {                                                                      \
    if (!(condition)) [[unlikely]]                                          \
      ::gantry::base_internal::CheckFailed(__FILE__, __LINE__, #condition); \
  } while (false)
