#include "cri/streaming/websocket.h"

#include <array>
#include <chrono>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include <boost/asio/async_result.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/websocket.hpp>

#include "cri/streaming/limits.h"

namespace gantry::cri::streaming {
namespace {

namespace beast = boost::beast;

constexpr std::chrono::seconds kCloseLimit(10);
constexpr std::chrono::seconds kPong(10);

// A byte stream as Beast wants one. Beast's operations can be moved only: they are shared.
class BeastStream {
 public:
  using executor_type = asio::io_context::executor_type;

  explicit BeastStream(std::shared_ptr<ByteStream> stream) : stream_(std::move(stream)) {}
  executor_type get_executor() { return stream_->io().get_executor(); }

  template <typename Buffers, typename Handler>
  auto async_read_some(const Buffers& buffers, Handler&& handler) {
    return asio::async_initiate<Handler, void(ErrorCode, size_t)>(
        [this](auto&& operation, const Buffers& all) {
          stream_->ReadSome(First<asio::mutable_buffer>(all), Shared(std::move(operation)));
        },
        handler, buffers);
  }
  template <typename Buffers, typename Handler>
  auto async_write_some(const Buffers& buffers, Handler&& handler) {
    return asio::async_initiate<Handler, void(ErrorCode, size_t)>(
        [this](auto&& operation, const Buffers& all) {
          stream_->WriteSome(First<asio::const_buffer>(all), Shared(std::move(operation)));
        },
        handler, buffers);
  }
  ByteStream& stream() { return *stream_; }
  [[nodiscard]] const std::shared_ptr<ByteStream>& shared() const { return stream_; }

 private:
  template <typename Buffer, typename Buffers>
  static Buffer First(const Buffers& buffers) {
    for (auto it = asio::buffer_sequence_begin(buffers); it != asio::buffer_sequence_end(buffers);
         ++it)
      if (Buffer buffer(*it); buffer.size() != 0) return buffer;
    return Buffer();
  }
  template <typename Operation>
  ByteStream::Done Shared(Operation operation) {
    auto shared = std::make_shared<Operation>(std::move(operation));
    return
        [shared, stream = stream_](const ErrorCode& error, size_t size) { (*shared)(error, size); };
  }

  std::shared_ptr<ByteStream> stream_;
};

// What Beast calls when a connection is to be closed: found by argument.
void beast_close_socket(BeastStream& stream) { stream.stream().Close(); }

template <typename Handler>
void async_teardown(beast::role_type, BeastStream& stream, Handler&& handler) {
  auto shared = std::make_shared<std::decay_t<Handler>>(std::forward<Handler>(handler));
  CloseLingering(stream.shared());
  asio::post(stream.get_executor(), [shared] { (*shared)(beast::error_code()); });
}

class BeastWebSocket final : public WebSocket, public std::enable_shared_from_this<BeastWebSocket> {
 public:
  BeastWebSocket(const std::shared_ptr<ByteStream>& stream, bool text)
      : stream_(stream), socket_(stream), close_limit_(stream->io()), pong_(stream->io()) {
    socket_.text(text);
    socket_.auto_fragment(false);
    socket_.read_message_max(0);  // messages are taken in pieces
    socket_.control_callback([this](beast::websocket::frame_type type, beast::string_view) {
      pinged_ = pinged_ || type == beast::websocket::frame_type::ping;
    });
  }

  void Start(const HttpRequest& request, const std::string& protocol,
             std::shared_ptr<Handler> handler) override {
    handler_ = std::move(handler);
    request_ = {};
    request_.method(beast::http::verb::get);
    request_.target("/");
    for (const auto& [name, value] : request.headers) request_.insert(name, value);
    socket_.set_option(beast::websocket::stream_base::decorator(
        [protocol](beast::websocket::response_type& response) {
          if (!protocol.empty()) response.set(beast::http::field::sec_websocket_protocol, protocol);
        }));
    socket_.async_accept(request_, [self = shared_from_this()](const ErrorCode& error) {
      if (error) return self->Gone();
      if (const auto handler_now = self->handler_) handler_now->OnOpen();
      self->Read();
    });
  }

  void Send(std::string message) override {
    unsent_ += message.size();
    was_full_ = was_full_ || Full();
    outgoing_.push_back(std::move(message));
    if (outgoing_.size() == 1) Write();
  }
  [[nodiscard]] bool Full() const override { return unsent_ >= kHighWater; }
  void Resume() override {
    if (!reading_) Read();
  }
  void Finish() override {
    finishing_ = true;
    handler_.reset();
    pong_.cancel();
    if (outgoing_.empty()) Close();
  }
  void Abort() override {
    handler_.reset();
    pong_.cancel();
    stream_->Close();
  }

 private:
  void Read() {
    if (reading_ || closing_ || handler_ == nullptr) return;
    if (!handler_->Accepts()) return SayThatWeLive();
    reading_ = true;
    socket_.async_read_some(asio::buffer(input_),
                            [self = shared_from_this()](const ErrorCode& error, size_t size) {
                              self->reading_ = false;
                              if (error) return self->Gone();
                              self->Take(size);
                              self->Read();
                            });
  }

  void SayThatWeLive() {
    if (!pinged_ || std::exchange(ponging_, true)) return;
    pong_.expires_after(kPong);
    pong_.async_wait([self = shared_from_this()](const ErrorCode& error) {
      self->ponging_ = false;
      // What is read meanwhile has been answered.
      if (error || self->reading_ || self->closing_ || self->handler_ == nullptr) return;
      self->ponging_ = true;
      self->socket_.async_pong({}, [self](const ErrorCode& failed) {
        self->ponging_ = false;
        if (!failed && !self->reading_) self->Read();
      });
    });
  }

  void Take(size_t size) {
    const bool ends = socket_.is_message_done();
    const Piece piece = {absl::string_view(input_.data(), size), begins_, ends};
    begins_ = ends;
    if (const auto handler = handler_) handler->OnPiece(piece);
  }

  void Write() {
    socket_.async_write(asio::buffer(outgoing_.front()),
                        [self = shared_from_this()](const ErrorCode& error, size_t) {
                          if (error) return self->Gone();
                          self->OnWritten();
                        });
  }

  void OnWritten() {
    unsent_ -= outgoing_.front().size();
    outgoing_.pop_front();
    if (!outgoing_.empty()) {
      Write();
    } else if (finishing_) {
      return Close();
    }
    if (!was_full_ || Full()) return;
    was_full_ = false;
    if (const auto handler = handler_) handler->OnWritable();
  }

  void Gone() {
    pong_.cancel();
    if (!closing_) stream_->Close();
    if (const auto handler = std::exchange(handler_, nullptr))
      handler->OnGone(absl::UnavailableError("the client has hung up"));
  }

  // Beast drops what still comes until the peer's own close.
  void Close() {
    if (std::exchange(closing_, true)) return;
    close_limit_.expires_after(kCloseLimit);
    close_limit_.async_wait([self = shared_from_this()](const ErrorCode& error) {
      if (!error) self->stream_->Close();
    });
    socket_.async_close(beast::websocket::close_code::normal,
                        [self = shared_from_this()](const ErrorCode& error) {
                          self->close_limit_.cancel();
                          if (error) self->stream_->Close();
                        });
  }

  std::shared_ptr<ByteStream> stream_;
  beast::websocket::stream<BeastStream, /*deflateSupported=*/false> socket_;
  beast::http::request<beast::http::empty_body> request_;
  std::shared_ptr<Handler> handler_;
  asio::steady_timer close_limit_, pong_;
  std::array<char, 32768> input_ = {};
  std::deque<std::string> outgoing_;
  size_t unsent_ = 0;
  bool begins_ = true, reading_ = false, was_full_ = false;
  bool finishing_ = false, closing_ = false;
  bool pinged_ = false, ponging_ = false;
};

}  // namespace

std::shared_ptr<WebSocket> MakeWebSocket(const std::shared_ptr<ByteStream>& stream, bool text) {
  return std::make_shared<BeastWebSocket>(stream, text);
}

}  // namespace gantry::cri::streaming
