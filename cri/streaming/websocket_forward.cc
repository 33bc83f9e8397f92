#include <utility>

#include "cri/streaming/channel_messages.h"
#include "cri/streaming/port_forward.h"
#include "cri/streaming/websocket.h"

namespace gantry::cri::streaming {
namespace {

class WebSocketForward;

// The two channels of a port.
struct Port final : PodConnection::Client {
  Port(WebSocketForward* owner, uint8_t channel) : forward(owner), data_channel(channel) {}

  void OnData(absl::string_view data) override;
  [[nodiscard]] bool Full() const override;
  // These channels have no end: a client would wait for what the pod says no more.
  void OnEnd() override { pod->CloseWrite(); }
  void OnRoom() override;
  void OnConnectFailed(const std::string& why) override;
  void OnBroken() override { OnFinished(); }
  void OnFinished() override;

  WebSocketForward* forward;
  uint8_t data_channel;
  std::shared_ptr<PodConnection> pod;
};

class WebSocketForward final : public WebSocket::Handler,
                               public Session,
                               public std::enable_shared_from_this<WebSocketForward> {
 public:
  WebSocketForward(const std::shared_ptr<ByteStream>& stream, const Subprotocol& protocol,
                   std::vector<uint16_t> ports, PodSockets sockets)
      : io_(stream->io()),
        socket_(MakeWebSocket(stream, protocol.base64)),
        base64_(protocol.base64),
        reader_(protocol.base64),
        numbers_(std::move(ports)),
        sockets_(std::move(sockets)) {}

  void Start(const HttpRequest& request, const std::string& protocol) {
    socket_->Start(request, protocol, shared_from_this());
  }

  void OnOpen() override {
    for (size_t i = 0; i < numbers_.size(); ++i) {
      const auto channel = static_cast<uint8_t>(2 * i);
      const std::string port = {static_cast<char>(numbers_[i] & 0xff),
                                static_cast<char>(numbers_[i] >> 8)};
      Send(channel, port);
      Send(static_cast<uint8_t>(channel + 1), port);
      ports_.push_back(std::make_unique<Port>(this, channel));
      ports_[i]->pod =
          std::make_shared<PodConnection>(&io_, sockets_, numbers_[i], ports_[i].get());
      ports_[i]->pod->Connect();
    }
  }
  void OnPiece(const WebSocket::Piece& piece) override {
    const auto part = reader_.Receive(piece.data, piece.begins, piece.ends);
    if (!part || part->channel % 2 != 0 || part->channel / 2U >= ports_.size()) return;
    if (const auto& pod = ports_[part->channel / 2U]->pod) pod->Write(part->data);
  }
  [[nodiscard]] bool Accepts() const override {
    for (const auto& port : ports_)
      if (port->pod != nullptr && !port->pod->Accepts()) return false;
    return true;
  }
  void OnWritable() override {
    // In turn, over all calls: else the first of them would fill the room each time.
    for (size_t i = 0; i < ports_.size() && !socket_->Full(); ++i) {
      last_pumped_ = (last_pumped_ + 1) % ports_.size();
      if (const auto pod = ports_[last_pumped_]->pod) pod->Pump();
    }
  }
  void OnGone(const Status&) override {
    for (const auto& port : ports_)
      if (const auto pod = std::exchange(port->pod, nullptr)) pod->Close();
  }
  void End(SessionEnd why) override {
    OnGone(absl::OkStatus());
    why == SessionEnd::kClientGone ? socket_->Abort() : socket_->Finish();
  }
  // One port's connection has gone; the client is told by the end of all.
  void OnPortEnded() {
    for (const auto& port : ports_)
      if (port->pod != nullptr) return;
    socket_->Finish();
  }

  void Send(uint8_t channel, absl::string_view data) {
    socket_->Send(EncodeChannelMessage(channel, data, base64_));
  }
  WebSocket& socket() { return *socket_; }

 private:
  asio::io_context& io_;
  std::shared_ptr<WebSocket> socket_;
  const bool base64_;
  ChannelMessageReader reader_;
  const std::vector<uint16_t> numbers_;
  const PodSockets sockets_;
  std::vector<std::unique_ptr<Port>> ports_;
  size_t last_pumped_ = 0;  // of ports_
};

void Port::OnData(absl::string_view data) { forward->Send(data_channel, data); }

bool Port::Full() const { return forward->socket().Full(); }

void Port::OnRoom() { forward->socket().Resume(); }

void Port::OnConnectFailed(const std::string& why) {
  forward->Send(static_cast<uint8_t>(data_channel + 1), why);
  OnFinished();
}

void Port::OnFinished() {
  pod.reset();
  forward->socket().Resume();  // it may have been what was waited for
  forward->OnPortEnded();
}

}  // namespace

std::shared_ptr<Session> StartWebSocketForward(const std::shared_ptr<ByteStream>& stream,
                                               const HttpRequest& request,
                                               const Subprotocol& protocol,
                                               const std::vector<uint16_t>& ports,
                                               const PodSockets& sockets) {
  auto forward = std::make_shared<WebSocketForward>(stream, protocol, ports, sockets);
  forward->Start(request, protocol.name);
  return forward;
}

}  // namespace gantry::cri::streaming
