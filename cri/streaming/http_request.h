// The head of the one request of a connection, and the answers to it that are no session.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace gantry::cri::streaming {

inline constexpr size_t kMaxRequestHead = 16 << 10;

struct HttpRequest {
  std::string method;
  std::string target;
  std::vector<std::pair<std::string, std::string>> headers;  // as they came
  std::string rest;                                          // what came behind the head

  // All values of the header, in order; names are compared without case.
  [[nodiscard]] std::vector<std::string> Values(absl::string_view name) const;
  // Whether one of the comma-separated words of the header's values is `word`, without case.
  [[nodiscard]] bool HasWord(absl::string_view name, absl::string_view word) const;
};

// An answer that ends the connection.
struct HttpError {
  int code = 400;
  std::string text;
  std::vector<std::pair<std::string, std::string>> headers = {};
};
std::string ErrorResponse(const HttpError& error);

// The place that a request line names: "/exec/TOKEN" as "exec" and "TOKEN"; likewise attach and
// portforward, and nothing for any other.
// `head` may be malformed behind its first line.
struct Place {
  std::string kind, token;
};
std::optional<Place> PlaceOf(absl::string_view head);

// The end of the head in what was received: its length; 0: not there yet.
size_t HeadLength(absl::string_view received);

// Reads a whole head. Errors: malformed or too long; a body (this server takes none), chunked or
// not; a target that is no plain path; a method other than GET and POST (405).
std::optional<HttpError> ParseHead(absl::string_view head, HttpRequest* request);

}  // namespace gantry::cri::streaming
