// PortForward sessions: many connections into one pod over one connection of a client.
#pragma once

#include <memory>
#include <vector>

#include "cri/streaming/byte_stream.h"
#include "cri/streaming/http_request.h"
#include "cri/streaming/pod_connection.h"
#include "cri/streaming/session.h"
#include "cri/streaming/subprotocols.h"

namespace gantry::cri::streaming {

// Over SPDY. A pair of streams is a connection: an error stream and a data stream with the same
// header "requestid" (without one: the data stream's id is the error stream's and 2), and "port". A
// text on the error stream makes clients end all of their forwards, so only what could not be
// connected has one.
std::shared_ptr<Session> StartSpdyForward(const std::shared_ptr<ByteStream>& stream,
                                          PodSockets sockets);

// Over WebSocket (v4.channel.k8s.io and older): for the port number i of `ports` the channels 2i
// (data) and 2i+1 (error), each of which begins with the port, little-endian. No half-close.
std::shared_ptr<Session> StartWebSocketForward(const std::shared_ptr<ByteStream>& stream,
                                               const HttpRequest& request,
                                               const Subprotocol& protocol,
                                               const std::vector<uint16_t>& ports,
                                               const PodSockets& sockets);

}  // namespace gantry::cri::streaming
