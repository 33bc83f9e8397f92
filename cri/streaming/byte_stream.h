// The bytes of one connection, both ways: a socket, TLS over one, or a tunnel in a WebSocket.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/system/error_code.hpp>

#include "runtime/base/deadline.h"

namespace gantry::cri::streaming {

namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;

// All on the io thread; at most one read and one write at a time. A completion is never called from
// within the call that started it, and keeps nothing alive but what it holds itself.
class ByteStream {
 public:
  using Done = std::function<void(const ErrorCode&, size_t)>;

  virtual ~ByteStream() = default;
  // At least one byte, or an error: asio::error::eof at the end.
  void ReadSome(asio::mutable_buffer buffer, Done done);
  // Some of the bytes.
  void WriteSome(asio::const_buffer buffer, Done done);
  // Tells the peer that nothing more will come.
  virtual void ShutdownWrite(std::function<void()> done) = 0;
  // Pending calls end with an error.
  virtual void Close() = 0;
  // Whether the peer has hung up; seen also while nothing is read.
  [[nodiscard]] virtual bool PeerGone() const = 0;
  virtual asio::io_context& io() = 0;

  // What was read already and belongs to what comes next.
  void Unread(std::string bytes) { unread_ = std::move(bytes); }
  // When bytes went either way last.
  [[nodiscard]] Deadline::Clock::time_point last_activity() const { return last_activity_; }

 protected:
  virtual void DoReadSome(asio::mutable_buffer buffer, Done done) = 0;
  virtual void DoWriteSome(asio::const_buffer buffer, Done done) = 0;

 private:
  std::string unread_;
  Deadline::Clock::time_point last_activity_ = Deadline::Clock::now();
};

// `lease` is let go of together with the socket.
std::shared_ptr<ByteStream> MakeSocketStream(asio::ip::tcp::socket socket,
                                             std::shared_ptr<void> lease);

// Whether the other end of a connected socket has shut down its writing, or is gone (POLLRDHUP).
bool HungUp(int socket);

// Ends a connection without loss: nothing more is written, what still comes is read and dropped
// until the peer closes, 10 s at most. A close with unread input would make the kernel send RST, at
// which the peer drops what it has not read yet.
void CloseLingering(const std::shared_ptr<ByteStream>& stream);

}  // namespace gantry::cri::streaming
