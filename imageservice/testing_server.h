// For tests: an HTTP server on loopback that answers what the test says, mistakes of servers
// included; over TLS, on IPv6, or as a proxy if wanted.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {

struct TestRequest {
  std::string method{}, path{}, query{};
  std::map<std::string, std::string> headers{};  // names in lower case
  std::string body{};
};

struct TestResponse {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers{};
  std::string body{};
  // Mistakes: another Content-Length; the connection is cut after so many bytes of the body; or it
  // stays silent there until the server ends.
  std::optional<uint64_t> content_length{};
  std::optional<size_t> cut_after{};
  std::optional<size_t> stall_after{};
  bool silent = false;            // nothing at all is sent until the server ends
  bool reset = false;             // `cut_after` ends in a reset, not in an end of file
  uint64_t bytes_per_second = 0;  // 0: as fast as it goes
  bool shared_rate = false;       // all answers together, not each
};

struct TestServerOptions {
  bool ipv6 = false;                 // on [::1]
  std::string certificate{}, key{};  // PEM: speaks TLS
  std::string client_authority{};    // PEM: clients must show a certificate of it
  std::optional<uint16_t>
      tunnel_to{};  // CONNECT leads to this port of 127.0.0.1, whatever it names
};

class TestConnection;

class TestServer {
 public:
  using Handler = std::function<TestResponse(const TestRequest&)>;

  // Listens on a free port of 127.0.0.1. `handler` is called from many threads, one call at a time.
  explicit TestServer(Handler handler) : TestServer({}, std::move(handler)) {}
  TestServer(TestServerOptions options, Handler handler);
  ~TestServer();

  // 127.0.0.1:<port> or [::1]:<port>
  std::string host() const;
  uint16_t port() const { return port_; }
  std::vector<TestRequest> requests() const;
  // How many requests had this path.
  int Count(const std::string& path) const;
  // The most answers that were under way at once.
  int most_at_once() const { return most_at_once_; }
  // How many bytes of bodies were sent, as far as the kernel took them.
  uint64_t body_bytes() const { return body_bytes_; }

 private:
  void Accept();
  void Serve(int socket);
  void Answer(TestConnection& connection, const TestResponse& response);
  bool SendBody(TestConnection& connection, const TestResponse& response);
  void Tunnel(TestConnection& connection);

  const TestServerOptions options_;
  const Handler handler_;
  uint16_t port_ = 0;
  UniqueFd listener_;
  UniqueFd stop_;  // eventfd: readable when the server ends
  std::atomic<int> at_once_{0}, most_at_once_{0};
  std::atomic<uint64_t> body_bytes_{0};
  mutable std::mutex mutex_;
  std::vector<TestRequest> requests_;
  std::vector<std::thread> connections_;
  std::thread accepting_;
};

// One request to 127.0.0.1:port over a connection of its own. kUnavailable when nobody listens
// there.
struct TestAnswer {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};
StatusOr<TestAnswer> TestExchange(uint16_t port, const TestRequest& request);

// A port of 127.0.0.1 on which nobody listened a moment ago.
uint16_t FreePort();

}  // namespace gantry::images
