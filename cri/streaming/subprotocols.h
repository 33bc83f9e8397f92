// What client and server speak behind an upgrade: chosen from what the client offers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "cri/streaming/http_request.h"

namespace gantry::cri::streaming {

enum class SessionKind { kExec, kAttach, kPortForward };

struct Subprotocol {
  bool websocket = false;
  std::string name;     // to be echoed; empty: none was offered
  int version = 1;      // of the remote command protocol
  bool base64 = false;  // WebSocket: text messages
  bool tunnel = false;  // WebSocket: SPDY inside of it
};

// The first of the client's offers that we speak: SPDY's are in X-Stream-Protocol-Version,
// WebSocket's in Sec-WebSocket-Protocol. Errors: 400 for no upgrade, another than these two, or
// SPDY without an offer; 403 when we speak none of them.
std::optional<HttpError> Negotiate(const HttpRequest& request, SessionKind kind,
                                   Subprotocol* chosen);

// The answer to a SPDY upgrade. Nothing may follow it before the client's first frame: what Go's
// client has read behind it is lost.
std::string SpdyResponse(const Subprotocol& chosen);

}  // namespace gantry::cri::streaming
