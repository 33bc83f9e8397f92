// The HTTP server behind the URLs of Exec, Attach and PortForward.
//
// One io thread serves all connections and sessions: nothing on it may block. Whoever can connect
// to the address may use what a token stands for, so the address is the loopback and the token the
// secret.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"

#include "cri/log.h"
#include "cri/streaming/command.h"
#include "cri/streaming/pod_sockets.h"
#include "runtime/base/status.h"

namespace gantry::cri::streaming {

struct ServerOptions {
  std::string address = "127.0.0.1";
  int port = 0;                                  // 0: one that is free
  std::string tls_certificate, tls_key;          // both, or none: plain HTTP
  std::string tls_client_ca;                     // empty: clients need no certificate
  absl::Duration idle_timeout = absl::Hours(4);  // without a byte, either way
};

// Any thread, but for Start and the destructor. It outlives every callback of its commands.
class Server {
 public:
  // Listens. kInvalidArgument: the address, or a TLS file, is not usable.
  static StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options, const Logger& log);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // URLs that are good for one connection within a minute. `owner` is the container, or the pod,
  // with which the sessions end. kResourceExhausted: too many wait to be used.
  StatusOr<std::string> ExecUrl(const std::string& owner, const StreamSet& streams,
                                std::shared_ptr<Command> command);
  StatusOr<std::string> AttachUrl(const std::string& owner, const StreamSet& streams,
                                  std::shared_ptr<Command> command);
  // `ports` for clients that cannot name them on the connection.
  StatusOr<std::string> PortForwardUrl(const std::string& owner, std::vector<uint16_t> ports,
                                       PodSockets sockets);

  // The container has exited, or the pod is stopped: its sessions end, each with a status, and
  // its URLs are good for nothing any more. Returns at once.
  void EndSessions(const std::string& owner);
  // Ends all sessions with a status and waits up to a second for clients to take it; then there is
  // no thread any more, and what commands call back does nothing.
  void Stop();

 private:
  class Loop;

 public:
  explicit Server(std::unique_ptr<Loop> loop);  // by Start

 private:
  std::unique_ptr<Loop> loop_;
};

}  // namespace gantry::cri::streaming
