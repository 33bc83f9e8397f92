#include "cri/streaming/tunnel.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include "cri/streaming/websocket.h"

namespace gantry::cri::streaming {
namespace {

constexpr size_t kMaxReceived = 64 << 10;
constexpr size_t kMaxMessage = 32 << 10;

// Where the bytes of the messages meet those who read: the socket holds this, the stream too.
class Tunnel final : public WebSocket::Handler, public std::enable_shared_from_this<Tunnel> {
 public:
  Tunnel(const std::shared_ptr<ByteStream>& outer,
         std::function<void(std::shared_ptr<ByteStream>)> opened)
      : outer_(outer), socket_(MakeWebSocket(outer, /*text=*/false)), opened_(std::move(opened)) {}

  void Start(const HttpRequest& request, const std::string& protocol) {
    socket_->Start(request, protocol, shared_from_this());
  }

  void OnOpen() override;
  void OnPiece(const WebSocket::Piece& piece) override {
    received_.append(piece.data.data(), piece.data.size());
    Serve();
  }
  [[nodiscard]] bool Accepts() const override { return received_.size() < kMaxReceived; }
  void OnWritable() override {
    if (const auto done = std::exchange(write_done_, nullptr)) done(ErrorCode(), written_);
  }
  void OnGone(const Status&) override {
    gone_ = true;
    Serve();
    if (const auto done = std::exchange(write_done_, nullptr)) done(asio::error::eof, 0);
  }

  void ReadSome(asio::mutable_buffer buffer, ByteStream::Done done) {
    read_buffer_ = buffer;
    read_done_ = std::move(done);
    asio::post(outer_->io(), [self = shared_from_this()] { self->Serve(); });
  }
  void WriteSome(asio::const_buffer buffer, ByteStream::Done done) {
    written_ = std::min(buffer.size(), kMaxMessage);
    if (!gone_) socket_->Send(std::string(static_cast<const char*>(buffer.data()), written_));
    write_done_ = std::move(done);
    if (gone_ || !socket_->Full()) {
      asio::post(outer_->io(), [self = shared_from_this()] {
        if (self->gone_) return self->OnGone(absl::OkStatus());
        self->OnWritable();
      });
    }
  }
  // The WebSocket's own end does it, and waits for the peer's.
  void Finish() {
    finishing_ = true;
    socket_->Finish();
    asio::post(outer_->io(), [self = shared_from_this()] { self->OnGone(absl::OkStatus()); });
  }
  void Close() {
    if (!finishing_) socket_->Abort();
    asio::post(outer_->io(), [self = shared_from_this()] { self->OnGone(absl::OkStatus()); });
  }
  ByteStream& outer() { return *outer_; }

 private:
  void Serve() {
    if (read_done_ == nullptr || (received_.empty() && !gone_)) return;
    const size_t size = std::min(read_buffer_.size(), received_.size());
    memcpy(read_buffer_.data(), received_.data(), size);
    received_.erase(0, size);
    const auto done = std::exchange(read_done_, nullptr);
    if (size == 0) return done(asio::error::eof, 0);
    socket_->Resume();
    done(ErrorCode(), size);
  }

  std::shared_ptr<ByteStream> outer_;
  std::shared_ptr<WebSocket> socket_;
  std::function<void(std::shared_ptr<ByteStream>)> opened_;
  std::string received_;
  asio::mutable_buffer read_buffer_;
  ByteStream::Done read_done_, write_done_;
  size_t written_ = 0;
  bool gone_ = false, finishing_ = false;
};

class TunnelStream final : public ByteStream {
 public:
  explicit TunnelStream(std::shared_ptr<Tunnel> tunnel) : tunnel_(std::move(tunnel)) {}
  void ShutdownWrite(std::function<void()> done) override {
    tunnel_->Finish();
    asio::post(io(), std::move(done));
  }
  void Close() override { tunnel_->Close(); }
  [[nodiscard]] bool PeerGone() const override { return tunnel_->outer().PeerGone(); }
  asio::io_context& io() override { return tunnel_->outer().io(); }

 protected:
  void DoReadSome(asio::mutable_buffer buffer, Done done) override {
    tunnel_->ReadSome(buffer, std::move(done));
  }
  void DoWriteSome(asio::const_buffer buffer, Done done) override {
    tunnel_->WriteSome(buffer, std::move(done));
  }

 private:
  std::shared_ptr<Tunnel> tunnel_;
};

void Tunnel::OnOpen() {
  if (const auto opened = std::exchange(opened_, nullptr))
    opened(std::make_shared<TunnelStream>(shared_from_this()));
}

}  // namespace

void StartTunnel(const std::shared_ptr<ByteStream>& outer, const HttpRequest& request,
                 const std::string& protocol,
                 std::function<void(std::shared_ptr<ByteStream>)> opened) {
  std::make_shared<Tunnel>(outer, std::move(opened))->Start(request, protocol);
}

}  // namespace gantry::cri::streaming
