#include "cri/streaming/connection.h"

#include <array>
#include <utility>

#include <boost/asio/steady_timer.hpp>

#include "cri/streaming/port_forward.h"
#include "cri/streaming/remote_command.h"
#include "cri/streaming/spdy_channels.h"
#include "cri/streaming/tunnel.h"
#include "cri/streaming/websocket_channels.h"

namespace gantry::cri::streaming {
namespace {

constexpr std::chrono::seconds kHead(10);

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<ByteStream> stream, Router* router)
      : stream_(std::move(stream)), router_(router), limit_(stream_->io()) {}

  void Start() {
    limit_.expires_after(kHead);
    limit_.async_wait([self = shared_from_this()](const ErrorCode& error) {
      if (!error) self->stream_->Close();
    });
    Read();
  }

 private:
  void Read() {
    stream_->ReadSome(asio::buffer(input_),
                      [self = shared_from_this()](const ErrorCode& error, size_t size) {
                        error ? self->Drop() : self->OnRead(size);
                      });
  }

  void Drop() {
    limit_.cancel();
    stream_->Close();
  }

  void OnRead(size_t size) {
    received_.append(input_.data(), size);
    const size_t head = HeadLength(received_);
    if (head == 0 && received_.size() < kMaxRequestHead) return Read();
    if (head == 0 || head > kMaxRequestHead)
      return Refuse({431, "the head of the request is too long"});
    Route(received_.substr(0, head), received_.substr(head));
  }

  void Route(const std::string& head, const std::string& rest) {
    const auto place = PlaceOf(head);
    auto target = place ? router_->Take(*place) : std::nullopt;
    HttpRequest request;
    if (const auto error = ParseHead(head, &request)) return Refuse(*error);
    if (!target) return Refuse({404, "there is no such session: its token is unknown or used"});
    Subprotocol protocol;
    if (const auto error = Negotiate(request, target->kind, &protocol)) return Refuse(*error);
    limit_.cancel();
    stream_->Unread(rest);
    if (protocol.websocket) return Open(*target, request, protocol);
    Write(SpdyResponse(protocol), [self = shared_from_this(), target = *std::move(target), request,
                                   protocol] { self->Open(target, request, protocol); });
  }

  void Open(const Target& target, const HttpRequest& request, const Subprotocol& protocol) {
    if (target.kind == SessionKind::kPortForward) return OpenForward(target, request, protocol);
    const auto session =
        std::make_shared<RemoteCommand>(&stream_->io(), target.streams, target.command);
    router_->Register(target.owner, session, stream_);
    if (protocol.websocket)
      StartWebSocketChannels(stream_, request, protocol, session);
    else
      StartSpdyChannels(stream_, protocol.version, session);
  }

  void OpenForward(const Target& target, const HttpRequest& request, const Subprotocol& protocol) {
    if (protocol.tunnel) {
      StartTunnel(
          stream_, request, protocol.name,
          [router = router_, target, outer = stream_](const std::shared_ptr<ByteStream>& inner) {
            router->Register(target.owner, StartSpdyForward(inner, target.sockets), outer);
          });
      return;
    }
    router_->Register(target.owner,
                      protocol.websocket ? StartWebSocketForward(stream_, request, protocol,
                                                                 target.ports, target.sockets)
                                         : StartSpdyForward(stream_, target.sockets),
                      stream_);
  }

  void Refuse(const HttpError& error) {
    Write(ErrorResponse(error), [self = shared_from_this()] {
      self->limit_.cancel();
      CloseLingering(self->stream_);
    });
  }

  void Write(std::string text, std::function<void()> done) {
    output_ = std::move(text);
    stream_->WriteSome(asio::buffer(output_), [self = shared_from_this(), done = std::move(done)](
                                                  const ErrorCode& error, size_t size) {
      if (error) return self->Drop();
      if (size == self->output_.size()) return done();
      self->Write(self->output_.substr(size), done);
    });
  }

  const std::shared_ptr<ByteStream> stream_;
  Router* const router_;
  asio::steady_timer limit_;
  std::array<char, 4096> input_ = {};
  std::string received_, output_;
};

}  // namespace

void ServeConnection(const std::shared_ptr<ByteStream>& stream, Router* router) {
  std::make_shared<Connection>(stream, router)->Start();
}

}  // namespace gantry::cri::streaming
