// The HTTP part of a connection: one request, then a session or an answer that ends it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cri/streaming/byte_stream.h"
#include "cri/streaming/command.h"
#include "cri/streaming/http_request.h"
#include "cri/streaming/pod_sockets.h"
#include "cri/streaming/session.h"
#include "cri/streaming/subprotocols.h"

namespace gantry::cri::streaming {

// What a token stands for.
struct Target {
  SessionKind kind = SessionKind::kExec;
  std::string owner;  // of the sessions: a container, or a pod
  StreamSet streams;  // exec, attach
  std::shared_ptr<Command> command;
  std::vector<uint16_t> ports;  // port-forward
  PodSockets sockets;
};

// The server, as its connections see it.
class Router {
 public:
  virtual ~Router() = default;
  // What the token stands for; it is used up.
  virtual std::optional<Target> Take(const Place& place) = 0;
  // A session has begun.
  virtual void Register(const std::string& owner, const std::shared_ptr<Session>& session,
                        const std::shared_ptr<ByteStream>& stream) = 0;
};

// On the io thread. The head has to come within 10 s; the token is used up by the request line,
// before anything else of the request is looked at. The router outlives the connection.
void ServeConnection(const std::shared_ptr<ByteStream>& stream, Router* router);

}  // namespace gantry::cri::streaming
