// Exec and Attach over WebSocket: a message's first byte is its channel; with base64 the message is
// text, the channel a digit.
#pragma once

#include <memory>

#include "cri/streaming/byte_stream.h"
#include "cri/streaming/channels.h"
#include "cri/streaming/http_request.h"
#include "cri/streaming/subprotocols.h"

namespace gantry::cri::streaming {

// In version 5 the message {255, channel} is the end of a channel; before it there is none. The
// session is ready at once.
void StartWebSocketChannels(const std::shared_ptr<ByteStream>& stream, const HttpRequest& request,
                            const Subprotocol& protocol,
                            const std::shared_ptr<ChannelSession>& session);

}  // namespace gantry::cri::streaming
