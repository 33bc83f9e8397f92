#include "cri/streaming/byte_stream.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "cri/streaming/limits.h"

namespace gantry::cri::streaming {
namespace {

class SocketStream final : public ByteStream {
 public:
  SocketStream(asio::ip::tcp::socket socket, std::shared_ptr<void> lease)
      : lease_(std::move(lease)), socket_(std::move(socket)) {}

  void ShutdownWrite(std::function<void()> done) override {
    ErrorCode ignored;  // the peer may be gone
    socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
    asio::post(socket_.get_executor(), std::move(done));
  }
  void Close() override {
    ErrorCode ignored;
    socket_.close(ignored);
  }
  [[nodiscard]] bool PeerGone() const override {
    return !socket_.is_open() || HungUp(native_handle());
  }
  asio::io_context& io() override {
    return static_cast<asio::io_context&>(socket_.get_executor().context());
  }

 protected:
  void DoReadSome(asio::mutable_buffer buffer, Done done) override {
    socket_.async_read_some(buffer, std::move(done));
  }
  void DoWriteSome(asio::const_buffer buffer, Done done) override {
    socket_.async_write_some(buffer, std::move(done));
  }

 private:
  [[nodiscard]] int native_handle() const {
    return const_cast<asio::ip::tcp::socket&>(socket_).native_handle();
  }
  std::shared_ptr<void> lease_;
  asio::ip::tcp::socket socket_;
};

// Holds the stream until its peer has closed.
class Lingering : public std::enable_shared_from_this<Lingering> {
 public:
  explicit Lingering(std::shared_ptr<ByteStream> stream)
      : stream_(std::move(stream)), limit_(stream_->io()) {}

  void Begin() {
    limit_.expires_after(kLinger);
    limit_.async_wait([self = shared_from_this()](const ErrorCode& error) {
      if (!error) self->stream_->Close();
    });
    stream_->ShutdownWrite([self = shared_from_this()] { self->Drop(); });
  }

 private:
  void Drop() {
    stream_->ReadSome(asio::buffer(buffer_),
                      [self = shared_from_this()](const ErrorCode& error, size_t) {
                        if (!error) return self->Drop();
                        self->limit_.cancel();
                        self->stream_->Close();
                      });
  }

  std::shared_ptr<ByteStream> stream_;
  asio::steady_timer limit_;
  std::array<char, 4096> buffer_ = {};
};

}  // namespace

void ByteStream::ReadSome(asio::mutable_buffer buffer, Done done) {
  if (!unread_.empty()) {
    const size_t size = std::min(buffer.size(), unread_.size());
    memcpy(buffer.data(), unread_.data(), size);
    unread_.erase(0, size);
    asio::post(io(), [done = std::move(done), size] { done(ErrorCode(), size); });
    return;
  }
  DoReadSome(buffer, [this, done = std::move(done)](const ErrorCode& error, size_t size) {
    if (!error) last_activity_ = Deadline::Clock::now();
    done(error, size);
  });
}

void ByteStream::WriteSome(asio::const_buffer buffer, Done done) {
  DoWriteSome(buffer, [this, done = std::move(done)](const ErrorCode& error, size_t size) {
    if (!error) last_activity_ = Deadline::Clock::now();
    done(error, size);
  });
}

std::shared_ptr<ByteStream> MakeSocketStream(asio::ip::tcp::socket socket,
                                             std::shared_ptr<void> lease) {
  return std::make_shared<SocketStream>(std::move(socket), std::move(lease));
}

bool HungUp(int socket) {
  pollfd polled = {socket, POLLRDHUP, 0};
  return poll(&polled, 1, 0) > 0;
}

void CloseLingering(const std::shared_ptr<ByteStream>& stream) {
  std::make_shared<Lingering>(stream)->Begin();
}

}  // namespace gantry::cri::streaming
