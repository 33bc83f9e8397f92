#include "cri/streaming/subprotocols.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace gantry::cri::streaming {
namespace {

constexpr char kSpdyVersions[] = "X-Stream-Protocol-Version";
constexpr char kWebSocketProtocols[] = "Sec-WebSocket-Protocol";
constexpr char kPortForward[] = "portforward.k8s.io";

using Protocols = std::vector<Subprotocol>;

// Newest first, as they are told to a client that offers none of them.
const Protocols& SpdyProtocols(SessionKind kind) {
  static const Protocols kCommand = {{false, "v4.channel.k8s.io", 4},
                                     {false, "v3.channel.k8s.io", 3},
                                     {false, "v2.channel.k8s.io", 2},
                                     {false, "channel.k8s.io", 1}};
  static const Protocols kForward = {{false, kPortForward}};
  return kind == SessionKind::kPortForward ? kForward : kCommand;
}

const Protocols& WebSocketProtocols(SessionKind kind) {
  static const Protocols kCommand = {{true, "v5.channel.k8s.io", 5},
                                     {true, "v4.channel.k8s.io", 4},
                                     {true, "v4.base64.channel.k8s.io", 4, true},
                                     {true, "channel.k8s.io", 1},
                                     {true, "base64.channel.k8s.io", 1, true}};
  static const Protocols kForward = {{true, "SPDY/3.1+portforward.k8s.io", 1, false, true},
                                     {true, "v4.channel.k8s.io", 4},
                                     {true, "v4.base64.channel.k8s.io", 4, true}};
  return kind == SessionKind::kPortForward ? kForward : kCommand;
}

std::vector<std::string> Offers(const HttpRequest& request, absl::string_view header) {
  std::vector<std::string> offers;
  for (const std::string& value : request.Values(header))
    for (const absl::string_view part : absl::StrSplit(value, ','))
      if (const auto offer = absl::StripAsciiWhitespace(part); !offer.empty())
        offers.emplace_back(offer);
  return offers;
}

bool Choose(const std::vector<std::string>& offers, const Protocols& known, Subprotocol* chosen) {
  for (const std::string& offer : offers) {
    const auto found = std::find_if(known.begin(), known.end(),
                                    [&](const Subprotocol& p) { return p.name == offer; });
    if (found == known.end()) continue;
    *chosen = *found;
    return true;
  }
  return false;
}

HttpError NoneSpoken(const char* header, const Protocols& known) {
  HttpError error{403, absl::StrCat("none of the protocols in ", header, " is spoken here"), {}};
  for (const Subprotocol& protocol : known)
    error.headers.emplace_back("X-Accepted-Stream-Protocol-Versions", protocol.name);
  return error;
}

}  // namespace

std::optional<HttpError> Negotiate(const HttpRequest& request, SessionKind kind,
                                   Subprotocol* chosen) {
  const bool upgrade = request.HasWord("connection", "upgrade");
  if (upgrade && request.HasWord("upgrade", "websocket")) {
    const auto offers = Offers(request, kWebSocketProtocols);
    *chosen = {true, "", 1};
    if (offers.empty() || Choose(offers, WebSocketProtocols(kind), chosen)) return std::nullopt;
    return NoneSpoken(kWebSocketProtocols, WebSocketProtocols(kind));
  }
  if (!upgrade || !request.HasWord("upgrade", "SPDY/3.1"))
    return HttpError{400, "an upgrade to SPDY/3.1 or websocket is needed", {}};
  const auto offers = Offers(request, kSpdyVersions);
  if (offers.empty()) return HttpError{400, absl::StrCat(kSpdyVersions, " is missing"), {}};
  if (Choose(offers, SpdyProtocols(kind), chosen)) return std::nullopt;
  return NoneSpoken(kSpdyVersions, SpdyProtocols(kind));
}

std::string SpdyResponse(const Subprotocol& chosen) {
  return absl::StrCat("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n",
                      "Upgrade: SPDY/3.1\r\n", kSpdyVersions, ": ", chosen.name, "\r\n\r\n");
}

}  // namespace gantry::cri::streaming
