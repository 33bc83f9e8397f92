// What a client of the streaming server says first: it is a request as the server takes it, or it
// is refused; nothing that could be read in two ways (a body, a second length, a folded line) is
// taken, and what is taken says the same when it is written down again.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "cri/streaming/http_request.h"
#include "cri/streaming/subprotocols.h"

namespace {

namespace streaming = gantry::cri::streaming;

void Require(bool holds) {
  if (!holds) __builtin_trap();
}

std::string Written(const streaming::HttpRequest& request) {
  std::string head = absl::StrCat(request.method, " ", request.target, " HTTP/1.1\r\n");
  for (const auto& [name, value] : request.headers)
    absl::StrAppend(&head, name, ": ", value, "\r\n");
  return head + "\r\n";
}

void CheckTaken(const streaming::HttpRequest& request) {
  Require(request.method == "GET" || request.method == "POST");
  Require(absl::StartsWith(request.target, "/"));
  Require(request.Values("Transfer-Encoding").empty());
  for (const auto& [name, value] : request.headers) {
    Require(!name.empty() && name.find_first_of(" \t\r\n:") == std::string::npos);
    Require(value.find_first_of("\r\n") == std::string::npos);
  }
  streaming::HttpRequest again;
  const std::string head = Written(request);
  // Values were trimmed: written down it can only have become shorter.
  Require(head.size() > streaming::kMaxRequestHead ||
          !streaming::ParseHead(head, &again).has_value());
  Require(again.headers.empty() || again.headers == request.headers);
}

void CheckNegotiation(const streaming::HttpRequest& request) {
  for (const auto kind : {streaming::SessionKind::kExec, streaming::SessionKind::kPortForward}) {
    streaming::Subprotocol chosen;
    if (streaming::Negotiate(request, kind, &chosen).has_value()) continue;
    if (chosen.name.empty()) continue;
    // Nothing is spoken that was not offered.
    const char* const header =
        chosen.websocket ? "Sec-WebSocket-Protocol" : "X-Stream-Protocol-Version";
    bool offered = false;
    for (const std::string& value : request.Values(header))
      offered |= absl::StrContains(value, chosen.name);
    Require(offered);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t head = streaming::HeadLength(bytes);
  Require(head <= bytes.size());
  if (const auto place = streaming::PlaceOf(bytes.substr(0, head == 0 ? size : head)))
    Require(place->kind == "exec" || place->kind == "attach" || place->kind == "portforward");
  streaming::HttpRequest request;
  if (head == 0 || streaming::ParseHead(bytes.substr(0, head), &request).has_value()) return 0;
  CheckTaken(request);
  CheckNegotiation(request);
  return 0;
}
