#include "cri/streaming/spdy_channels.h"

#include <array>
#include <optional>
#include <utility>

#include <boost/asio/steady_timer.hpp>

#include "cri/streaming/spdy_connection.h"

namespace gantry::cri::streaming {
namespace {

constexpr std::chrono::seconds kStreamCreation(30);

class SpdyChannels final : public SpdyConnection::Handler,
                           public ChannelTransport,
                           public std::enable_shared_from_this<SpdyChannels> {
 public:
  SpdyChannels(const std::shared_ptr<ByteStream>& stream, int version,
               std::shared_ptr<ChannelSession> session)
      : session_(std::move(session)),
        connection_(std::make_shared<SpdyConnection>(stream)),
        version_(version),
        creation_limit_(stream->io()) {
    const StreamSet& streams = session_->streams();
    needed_[Index(Channel::kError)] = true;
    needed_[Index(Channel::kStdin)] = streams.stdin;
    needed_[Index(Channel::kStdout)] = streams.stdout;
    needed_[Index(Channel::kStderr)] = streams.stderr;
    needed_[Index(Channel::kResize)] = streams.tty && version >= 3;
  }

  void Start() {
    session_->OnTransport(shared_from_this());
    creation_limit_.expires_after(kStreamCreation);
    creation_limit_.async_wait([weak = weak_from_this()](const ErrorCode& error) {
      const auto self = weak.lock();
      if (error || self == nullptr || self->session_ == nullptr) return;
      self->connection_->Abort();
      self->OnGone(absl::DeadlineExceededError("the client has not opened its streams in time"));
    });
    connection_->Start(shared_from_this());
  }

  void OnEvent(const SpdyEvent& event) override {
    if (event.kind == SpdyEvent::Kind::kStream) return OnStream(event);
    const auto channel = ChannelOf(event.stream);
    if (!channel || session_ == nullptr) return;
    const auto session = session_;
    if (event.kind == SpdyEvent::Kind::kData) return session->OnInput(*channel, event.data);
    // The end of what the client says, or of the whole stream: then nothing reaches it either.
    session->OnInputEnd(*channel);
  }
  [[nodiscard]] bool Accepts() const override { return session_ != nullptr && session_->Accepts(); }
  void OnWritable() override {
    if (const auto session = session_) session->OnWritable();
  }
  void OnGone(const Status& why) override {
    creation_limit_.cancel();
    if (const auto session = std::exchange(session_, nullptr)) session->OnGone(why);
  }

  void Write(Channel channel, absl::string_view data) override {
    connection_->session().Data(ids_[Index(channel)], data);
    connection_->Flush();
  }
  void CloseChannel(Channel channel) override {
    connection_->session().Fin(ids_[Index(channel)]);
    connection_->Flush();
  }
  [[nodiscard]] bool Full() const override { return connection_->Full(); }
  void Resume() override { connection_->Resume(); }
  void Finish() override {
    session_.reset();
    connection_->Finish();
  }
  void Abort() override {
    session_.reset();
    connection_->Abort();
  }
  [[nodiscard]] int version() const override { return version_; }

 private:
  static size_t Index(Channel channel) { return static_cast<size_t>(channel); }

  static std::optional<Channel> ChannelNamed(const SpdyHeaders& headers) {
    constexpr std::array<absl::string_view, kChannels> kNames = {"stdin", "stdout", "stderr",
                                                                 "error", "resize"};
    for (const auto& [name, value] : headers) {
      if (name != "streamtype") continue;
      for (size_t i = 0; i < kChannels; ++i)
        if (value == kNames[i]) return static_cast<Channel>(i);
    }
    return std::nullopt;
  }

  [[nodiscard]] std::optional<Channel> ChannelOf(uint32_t stream) const {
    for (size_t i = 0; i < kChannels; ++i)
      if (ids_[i] == stream) return static_cast<Channel>(i);
    return std::nullopt;
  }

  void OnStream(const SpdyEvent& event) {
    const auto channel = ChannelNamed(event.headers);
    if (!channel || !needed_[Index(*channel)] || ids_[Index(*channel)] != 0) {
      connection_->session().Reset(event.stream, kSpdyProtocolError);
      return;
    }
    ids_[Index(*channel)] = event.stream;
    connection_->session().Reply(event.stream);
    for (size_t i = 0; i < kChannels; ++i)
      if (needed_[i] && ids_[i] == 0) return;
    creation_limit_.cancel();
    if (const auto session = session_) session->OnReady();
  }

  std::shared_ptr<ChannelSession> session_;
  std::shared_ptr<SpdyConnection> connection_;
  const int version_;
  asio::steady_timer creation_limit_;
  std::array<bool, kChannels> needed_ = {};
  std::array<uint32_t, kChannels> ids_ = {};  // 0: not there yet
};

}  // namespace

void StartSpdyChannels(const std::shared_ptr<ByteStream>& stream, int version,
                       const std::shared_ptr<ChannelSession>& session) {
  std::make_shared<SpdyChannels>(stream, version, session)->Start();
}

}  // namespace gantry::cri::streaming
