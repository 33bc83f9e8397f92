// A WebSocket (RFC 6455) on a byte stream, the server's side: Boost.Beast, fenced in websocket.cc.
#pragma once

#include <memory>
#include <string>

#include "absl/strings/string_view.h"

#include "cri/streaming/byte_stream.h"
#include "cri/streaming/http_request.h"
#include "runtime/base/status.h"

namespace gantry::cri::streaming {

// On the io thread. Pings are answered; its end is as SpdyConnection's. While the handler takes
// nothing a ping stays behind what was sent before it: a client that has pinged then gets
// unsolicited pongs (RFC 6455 5.5.3), for client-go gives up a connection without any for a minute.
class WebSocket {
 public:
  // A part of a message, as it comes: messages are of any length.
  struct Piece {
    absl::string_view data;
    bool begins = false, ends = false;  // of the message
  };

  class Handler {
   public:
    virtual ~Handler() = default;
    // The upgrade is done.
    virtual void OnOpen() = 0;
    virtual void OnPiece(const Piece& piece) = 0;
    // False: what comes stays where it is, until Resume.
    [[nodiscard]] virtual bool Accepts() const = 0;
    // There is room again for what Full() refused.
    virtual void OnWritable() = 0;
    // The peer has closed, hung up, or broke the protocol: nothing follows.
    virtual void OnGone(const Status& why) = 0;
  };

  virtual ~WebSocket() = default;
  // Answers the upgrade with `protocol` (empty: none). Holds the handler until OnGone, Finish or
  // Abort.
  virtual void Start(const HttpRequest& request, const std::string& protocol,
                     std::shared_ptr<Handler> handler) = 0;
  virtual void Send(std::string message) = 0;
  // Too much waits to be sent: say no more until OnWritable.
  [[nodiscard]] virtual bool Full() const = 0;
  virtual void Resume() = 0;
  // Sends the rest, closes with 1000, and waits until the peer has closed too, 10 s at most.
  virtual void Finish() = 0;
  virtual void Abort() = 0;
};

// `text`: what is sent are text messages.
std::shared_ptr<WebSocket> MakeWebSocket(const std::shared_ptr<ByteStream>& stream, bool text);

}  // namespace gantry::cri::streaming
