#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include <boost/asio/steady_timer.hpp>

#include "cri/streaming/port_forward.h"
#include "cri/streaming/spdy_connection.h"

namespace gantry::cri::streaming {
namespace {

constexpr std::chrono::seconds kPairing(30);  // from a pair's first stream to its second
constexpr std::chrono::seconds kStall(10);    // for a pod that takes nothing while others wait

struct StreamHeaders {
  bool data = false;
  uint16_t port = 0;
  std::string request;  // what the two of a pair have in common
};

bool ReadHeaders(const SpdyEvent& event, StreamHeaders* headers) {
  std::string type;
  uint32_t port = 0;
  for (const auto& [name, value] : event.headers) {
    if (name == "streamtype") type = value;
    if (name == "requestid") headers->request = value;
    if (name == "port" && !absl::SimpleAtoi(value, &port)) return false;
  }
  headers->data = type == "data";
  headers->port = static_cast<uint16_t>(port);
  if (headers->request.empty())
    headers->request = absl::StrCat("stream ", headers->data ? event.stream - 2 : event.stream);
  return (type == "data" || type == "error") && port >= 1 && port <= UINT16_MAX;
}

class SpdyForward;

// One connection of the client: two streams, and a socket to the pod once both are there.
struct Pair final : PodConnection::Client {
  Pair(SpdyForward* owner, std::string request_id, asio::io_context* io)
      : forward(owner), request(std::move(request_id)), timer(*io) {}
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
  ~Pair() override {
    if (pod != nullptr) pod->Close();
  }

  void OnData(absl::string_view bytes) override;
  [[nodiscard]] bool Full() const override;
  void OnEnd() override;
  void OnRoom() override;
  void OnConnectFailed(const std::string& why) override;
  void OnBroken() override;
  void OnFinished() override;

  SpdyForward* forward;
  std::string request;
  uint16_t port = 0;
  uint32_t error = 0, data = 0;  // streams; 0: not there
  std::shared_ptr<PodConnection> pod;
  asio::steady_timer timer;  // for the second stream, then for a pod that is stuck
};

class SpdyForward final : public SpdyConnection::Handler,
                          public Session,
                          public std::enable_shared_from_this<SpdyForward> {
 public:
  SpdyForward(const std::shared_ptr<ByteStream>& stream, PodSockets sockets)
      : io_(stream->io()),
        connection_(std::make_shared<SpdyConnection>(stream)),
        sockets_(std::move(sockets)) {}

  void Start() { connection_->Start(shared_from_this()); }

  void OnEvent(const SpdyEvent& event) override {
    if (event.kind == SpdyEvent::Kind::kStream) return OnStream(event);
    const auto found = by_stream_.find(event.stream);
    if (found == by_stream_.end()) return;
    const auto pair = found->second;
    if (event.stream != pair->data) return;  // nobody says anything on an error stream
    if (event.kind == SpdyEvent::Kind::kData) {
      pair->pod != nullptr ? pair->pod->Write(event.data) : Drop(pair, kSpdyProtocolError);
      if (pair->pod != nullptr && !pair->pod->Accepts()) AwaitRoom(pair);
    } else if (event.kind == SpdyEvent::Kind::kFin) {
      if (pair->pod != nullptr) pair->pod->CloseWrite();
    } else {
      Drop(pair, 0);
    }
  }
  [[nodiscard]] bool Accepts() const override {
    for (const auto& [request, pair] : pairs_)
      if (pair->pod != nullptr && !pair->pod->Accepts()) return false;
    return true;
  }
  void OnWritable() override {
    const auto pairs = pairs_;  // one may go while it is pumped
    // In turn, over all calls: else the first of them would fill the room each time.
    auto next = pairs.upper_bound(last_pumped_);
    for (size_t i = 0; i < pairs.size() && !connection_->Full(); ++i, ++next) {
      if (next == pairs.end()) next = pairs.begin();
      last_pumped_ = next->first;
      if (next->second->pod != nullptr) next->second->pod->Pump();
    }
  }
  void OnGone(const Status&) override {
    by_stream_.clear();
    pairs_.clear();
  }
  void End(SessionEnd why) override {
    OnGone(absl::OkStatus());
    why == SessionEnd::kClientGone ? connection_->Abort() : connection_->Finish();
  }

  SpdySession& session() { return connection_->session(); }
  SpdyConnection& connection() { return *connection_; }

  // Ends the pair: its data stream is reset with `code`, or with 0 finished (when the client has
  // not reset it itself), its error stream is finished, empty.
  void Drop(const std::shared_ptr<Pair>& pair, uint32_t code) {
    code == 0 ? session().Fin(pair->data) : session().Reset(pair->data, code);
    session().Fin(pair->error);
    Forget(pair);
  }
  // Ends it with a text, at which the client ends everything.
  void Refuse(const std::shared_ptr<Pair>& pair, const std::string& why) {
    session().Data(pair->error, why);
    session().Fin(pair->error);
    session().Fin(pair->data);
    Forget(pair);
  }
  std::shared_ptr<Pair> Find(const Pair* pair) {
    const auto found = pairs_.find(pair->request);
    return found == pairs_.end() ? nullptr : found->second;
  }

 private:
  void OnStream(const SpdyEvent& event) {
    StreamHeaders headers;
    if (!ReadHeaders(event, &headers)) return session().Reset(event.stream, kSpdyProtocolError);
    auto& pair = pairs_[headers.request];
    if (pair == nullptr) {
      pair = std::make_shared<Pair>(this, headers.request, &io_);
      pair->port = headers.port;
      AwaitSecond(pair);
    }
    uint32_t& place = headers.data ? pair->data : pair->error;
    if (place != 0 || pair->port != headers.port)
      return session().Reset(event.stream, kSpdyProtocolError);
    place = event.stream;
    by_stream_[event.stream] = pair;
    session().Reply(event.stream);
    if (pair->data == 0 || pair->error == 0) return;
    pair->timer.cancel();
    pair->pod = std::make_shared<PodConnection>(&io_, sockets_, pair->port, pair.get());
    const auto kept = pair;  // a failure drops it at once
    kept->pod->Connect();
  }

  void AwaitSecond(const std::shared_ptr<Pair>& pair) {
    pair->timer.expires_after(kPairing);
    pair->timer.async_wait(
        [self = shared_from_this(), weak = std::weak_ptr<Pair>(pair)](const ErrorCode& error) {
          const auto late = weak.lock();
          if (error || late == nullptr || late->pod != nullptr) return;
          self->Refuse(late, absl::StrCat("port ", late->port, ": the second stream did not come"));
        });
  }

  // A pod that is stuck does not stop its neighbours for longer.
  void AwaitRoom(const std::shared_ptr<Pair>& pair) {
    pair->timer.expires_after(kStall);
    pair->timer.async_wait(
        [self = shared_from_this(), weak = std::weak_ptr<Pair>(pair)](const ErrorCode& error) {
          const auto stuck = weak.lock();
          if (error || stuck == nullptr || stuck->pod == nullptr || stuck->pod->Accepts()) return;
          if (self->pairs_.size() == 1) return self->AwaitRoom(stuck);
          self->Drop(stuck, kSpdyCancel);
        });
  }

  void Forget(const std::shared_ptr<Pair>& pair) {
    pair->timer.cancel();
    if (pair->pod != nullptr) pair->pod->Close();
    by_stream_.erase(pair->data);
    by_stream_.erase(pair->error);
    pairs_.erase(pair->request);
    connection_->Flush();
    connection_->Resume();  // it may have been what was waited for
  }

  asio::io_context& io_;
  std::shared_ptr<SpdyConnection> connection_;
  const PodSockets sockets_;
  std::map<std::string, std::shared_ptr<Pair>> pairs_;
  std::map<uint32_t, std::shared_ptr<Pair>> by_stream_;
  std::string last_pumped_;  // of pairs_
};

void Pair::OnData(absl::string_view bytes) {
  forward->session().Data(data, bytes);
  forward->connection().Flush();
}

bool Pair::Full() const { return forward->connection().Full(); }

// Clients wait for the end of both.
void Pair::OnEnd() {
  forward->session().Fin(data);
  forward->session().Fin(error);
  forward->connection().Flush();
}

void Pair::OnRoom() {
  timer.cancel();
  forward->connection().Resume();
}

void Pair::OnConnectFailed(const std::string& why) {
  if (const auto self = forward->Find(this)) forward->Refuse(self, why);
}

void Pair::OnBroken() {
  if (const auto self = forward->Find(this)) forward->Drop(self, kSpdyCancel);
}

void Pair::OnFinished() {
  if (const auto self = forward->Find(this)) forward->Drop(self, 0);
}

}  // namespace

std::shared_ptr<Session> StartSpdyForward(const std::shared_ptr<ByteStream>& stream,
                                          PodSockets sockets) {
  auto forward = std::make_shared<SpdyForward>(stream, std::move(sockets));
  forward->Start();
  return forward;
}

}  // namespace gantry::cri::streaming
