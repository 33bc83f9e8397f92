// The listening socket of the streaming server.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <boost/asio/steady_timer.hpp>

#include "cri/streaming/byte_stream.h"
#include "runtime/base/status.h"

namespace gantry::cri::streaming {

inline constexpr int kMaxConnections = 1000;

// On the io thread, but for Open.
class Listener : public std::enable_shared_from_this<Listener> {
 public:
  // Given each connection with its lease: the connection counts until that is gone.
  using Accepted = std::function<void(asio::ip::tcp::socket, std::shared_ptr<void>)>;

  // kInvalidArgument: no address, or one that cannot be listened on.
  static StatusOr<std::shared_ptr<Listener>> Open(asio::io_context* io, const std::string& address,
                                                  int port);
  Listener(asio::io_context* io, asio::ip::tcp::acceptor acceptor);

  // Above kMaxConnections new ones are closed at once.
  void Start(Accepted accepted);
  void Close();
  // "127.0.0.1:34567", "[::1]:34567"
  [[nodiscard]] std::string Place() const;
  [[nodiscard]] int connections() const { return *connections_; }

 private:
  void Await();
  void Accept();

  asio::io_context& io_;
  asio::ip::tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  Accepted accepted_;
  std::shared_ptr<int> connections_ = std::make_shared<int>(0);
};

}  // namespace gantry::cri::streaming
