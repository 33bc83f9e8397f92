#include "cri/streaming/http_request.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>

namespace gantry::cri::streaming {
namespace {

namespace http = boost::beast::http;

constexpr size_t kMaxToken = 64;

std::string Text(boost::beast::string_view text) { return {text.data(), text.size()}; }

absl::string_view Reason(int code) {
  switch (code) {
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 431:
      return "Request Header Fields Too Large";
    default:
      return "Internal Server Error";
  }
}

// A request may say that its body is empty, as Go's clients do.
bool HasBody(const HttpRequest& request) {
  if (!request.Values("transfer-encoding").empty()) return true;
  for (const std::string& value : request.Values("content-length"))
    if (absl::StripAsciiWhitespace(value) != "0") return true;
  return false;
}

}  // namespace

std::vector<std::string> HttpRequest::Values(absl::string_view name) const {
  std::vector<std::string> values;
  for (const auto& [key, value] : headers)
    if (absl::EqualsIgnoreCase(key, name)) values.push_back(value);
  return values;
}

bool HttpRequest::HasWord(absl::string_view name, absl::string_view word) const {
  for (const std::string& value : Values(name))
    for (const absl::string_view part : absl::StrSplit(value, ','))
      if (absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(part), word)) return true;
  return false;
}

std::string ErrorResponse(const HttpError& error) {
  std::string response = absl::StrCat("HTTP/1.1 ", error.code, " ", Reason(error.code), "\r\n");
  for (const auto& [name, value] : error.headers)
    absl::StrAppend(&response, name, ": ", value, "\r\n");
  absl::StrAppend(&response, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: ",
                  error.text.size() + 1, "\r\nConnection: close\r\n\r\n", error.text, "\n");
  return response;
}

std::optional<Place> PlaceOf(absl::string_view head) {
  const std::vector<absl::string_view> words =
      absl::StrSplit(head.substr(0, head.find_first_of("\r\n")), ' ');
  if (words.size() < 2) return std::nullopt;
  const std::vector<absl::string_view> parts =
      absl::StrSplit(words[1].substr(0, words[1].find('?')), '/');
  if (parts.size() != 3 || !parts[0].empty() || parts[2].empty() || parts[2].size() > kMaxToken)
    return std::nullopt;
  for (const char* kind : {"exec", "attach", "portforward"})
    if (parts[1] == kind) return Place{kind, std::string(parts[2])};
  return std::nullopt;
}

size_t HeadLength(absl::string_view received) {
  const size_t end = received.find("\r\n\r\n");
  return end == absl::string_view::npos ? 0 : end + 4;
}

std::optional<HttpError> ParseHead(absl::string_view head, HttpRequest* request) {
  http::request_parser<http::empty_body> parser;
  parser.header_limit(kMaxRequestHead);
  parser.skip(true);  // no body is read
  boost::beast::error_code error;
  parser.put(boost::asio::buffer(head.data(), head.size()), error);
  if (error || !parser.is_header_done())
    return HttpError{400, error ? error.message() : "the request is incomplete"};
  const auto& parsed = parser.get();
  request->method = Text(parsed.method_string());
  request->target = Text(parsed.target());
  for (const auto& field : parsed)
    request->headers.emplace_back(Text(field.name_string()), Text(field.value()));
  if (parsed.version() != 11) return HttpError{400, "the version of HTTP has to be 1.1"};
  if (request->method != "GET" && request->method != "POST")
    return HttpError{405, "GET or POST is needed", {{"Allow", "GET, POST"}}};
  if (!absl::StartsWith(request->target, "/")) return HttpError{400, "the target is no path"};
  if (HasBody(*request)) return HttpError{400, "a request has no body here"};
  return std::nullopt;
}

}  // namespace gantry::cri::streaming
