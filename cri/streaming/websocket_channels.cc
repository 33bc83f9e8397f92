#include "cri/streaming/websocket_channels.h"

#include <array>
#include <utility>

#include "cri/streaming/channel_messages.h"
#include "cri/streaming/websocket.h"

namespace gantry::cri::streaming {
namespace {

constexpr uint8_t kClose = 255;

class WebSocketChannels final : public WebSocket::Handler,
                                public ChannelTransport,
                                public std::enable_shared_from_this<WebSocketChannels> {
 public:
  WebSocketChannels(const std::shared_ptr<ByteStream>& stream, const Subprotocol& protocol,
                    std::shared_ptr<ChannelSession> session)
      : session_(std::move(session)),
        socket_(MakeWebSocket(stream, protocol.base64)),
        protocol_(protocol),
        reader_(protocol.base64) {}

  void Start(const HttpRequest& request) {
    session_->OnTransport(shared_from_this());
    socket_->Start(request, protocol_.name, shared_from_this());
  }

  // An empty message on the lowest channel tells clients that the session is there.
  void OnOpen() override {
    const auto session = session_;
    if (session == nullptr) return;
    const StreamSet& streams = session->streams();
    Write(streams.stdout   ? Channel::kStdout
          : streams.stderr ? Channel::kStderr
                           : Channel::kError,
          "");
    session->OnReady();
  }
  void OnPiece(const WebSocket::Piece& piece) override {
    const auto part = reader_.Receive(piece.data, piece.begins, piece.ends);
    const auto session = session_;
    if (!part || session == nullptr) return;
    if (part->channel == kClose && protocol_.version >= 5)
      return OnClosed(session.get(), part->data);
    if (part->channel == static_cast<uint8_t>(Channel::kStdin) ||
        part->channel == static_cast<uint8_t>(Channel::kResize))
      session->OnInput(static_cast<Channel>(part->channel), part->data);
  }
  [[nodiscard]] bool Accepts() const override { return session_ == nullptr || session_->Accepts(); }
  void OnWritable() override {
    if (const auto session = session_) session->OnWritable();
  }
  void OnGone(const Status& why) override {
    if (const auto session = std::exchange(session_, nullptr)) session->OnGone(why);
  }

  void Write(Channel channel, absl::string_view data) override {
    socket_->Send(EncodeChannelMessage(static_cast<uint8_t>(channel), data, protocol_.base64));
  }
  // These clients know a channel's end by the status that follows.
  void CloseChannel(Channel) override {}
  [[nodiscard]] bool Full() const override { return socket_->Full(); }
  void Resume() override { socket_->Resume(); }
  void Finish() override {
    session_.reset();
    socket_->Finish();
  }
  void Abort() override {
    session_.reset();
    socket_->Abort();
  }
  [[nodiscard]] int version() const override { return protocol_.version; }

 private:
  static void OnClosed(ChannelSession* session, const std::string& channels) {
    for (const char channel : channels)
      if (channel == static_cast<char>(Channel::kStdin)) session->OnInputEnd(Channel::kStdin);
  }

  std::shared_ptr<ChannelSession> session_;
  std::shared_ptr<WebSocket> socket_;
  const Subprotocol protocol_;
  ChannelMessageReader reader_;
};

}  // namespace

void StartWebSocketChannels(const std::shared_ptr<ByteStream>& stream, const HttpRequest& request,
                            const Subprotocol& protocol,
                            const std::shared_ptr<ChannelSession>& session) {
  std::make_shared<WebSocketChannels>(stream, protocol, session)->Start(request);
}

}  // namespace gantry::cri::streaming
