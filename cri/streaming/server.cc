#include "cri/streaming/server.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <list>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "cri/streaming/connection.h"
#include "cri/streaming/listener.h"
#include "cri/streaming/tls.h"
#include "cri/streaming/tokens.h"
#include "runtime/base/deadline.h"

namespace gantry::cri::streaming {
namespace {

constexpr std::chrono::seconds kLook(2);  // after sessions whose client may have gone unseen
constexpr std::chrono::milliseconds kStopLook(20);
constexpr absl::Duration kStopPatience = absl::Seconds(1);

SteadyTime Now() { return Deadline::Clock::now(); }

}  // namespace

class Server::Loop final : public Router {
 public:
  Loop(const ServerOptions& options, Logger log) : options_(options), log_(std::move(log)) {}
  ~Loop() override { Stop(); }

  Status Open();
  void Stop();
  void EndSessions(const std::string& owner);
  StatusOr<std::string> UrlFor(Target target);

  std::optional<Target> Take(const Place& place) override;
  void Register(const std::string& owner, const std::shared_ptr<Session>& session,
                const std::shared_ptr<ByteStream>& stream) override;

 private:
  struct Entry {
    std::string owner;
    std::weak_ptr<Session> session;
    std::weak_ptr<ByteStream> stream;
  };

  TokenTable<Target>& TableOf(SessionKind kind) { return tokens_[static_cast<size_t>(kind)]; }
  void OnConnection(asio::ip::tcp::socket socket, std::shared_ptr<void> lease);
  void AwaitExpiry();
  void Look();
  void Check(const Entry& entry);
  void BeginStop();
  void AwaitEmpty();

  const ServerOptions options_;
  const Logger log_;
  std::array<TokenTable<Target>, 3> tokens_;
  std::string base_url_;

  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  std::unique_ptr<Tls> tls_;
  std::shared_ptr<Listener> listener_;
  std::list<Entry> sessions_;
  asio::steady_timer look_{io_}, expiry_{io_};
  bool expiring_ = false;
  bool looking_ = false;
  Deadline stop_by_ = Deadline::Never();
  std::thread thread_;
};

Status Server::Loop::Open() {
  const bool tls = !options_.tls_certificate.empty();
  if (tls) {
    ASSIGN_OR_RETURN(
        tls_, Tls::Load({options_.tls_certificate, options_.tls_key, options_.tls_client_ca}));
  }
  ASSIGN_OR_RETURN(listener_, Listener::Open(&io_, options_.address, options_.port));
  base_url_ = absl::StrCat(tls ? "https://" : "http://", listener_->Place());
  listener_->Start([this](asio::ip::tcp::socket socket, std::shared_ptr<void> lease) {
    OnConnection(std::move(socket), std::move(lease));
  });
  // Signals belong to the main thread.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { io_.run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return absl::OkStatus();
}

void Server::Loop::OnConnection(asio::ip::tcp::socket socket, std::shared_ptr<void> lease) {
  if (tls_ == nullptr) {
    ServeConnection(MakeSocketStream(std::move(socket), std::move(lease)), this);
    return;
  }
  tls_->Handshake(
      std::move(socket), std::move(lease),
      [this](const std::shared_ptr<ByteStream>& stream) { ServeConnection(stream, this); });
  if (const Status error = tls_->TakeReloadError(); !error.ok())
    log_.Warning("TLS files have changed but are not usable, ignoring: the old ones stay",
                 {{"error", std::string(error.message())}});
}

StatusOr<std::string> Server::Loop::UrlFor(Target target) {
  constexpr const char* kPaths[] = {"/exec/", "/attach/", "/portforward/"};
  const SessionKind kind = target.kind;
  ASSIGN_OR_RETURN(const std::string token, TableOf(kind).Add(std::move(target), Now()));
  asio::post(io_, [this] {
    if (!expiring_) AwaitExpiry();
  });
  return absl::StrCat(base_url_, kPaths[static_cast<size_t>(kind)], token);
}

// A target may hold what others wait for: it goes with its time.
void Server::Loop::AwaitExpiry() {
  size_t left = 0;
  for (auto& table : tokens_) left += table.DropExpired(Now());
  expiring_ = left != 0;
  if (!expiring_) return;
  expiry_.expires_after(kTokenLife);
  expiry_.async_wait([this](const ErrorCode& error) {
    if (!error) AwaitExpiry();
  });
}

std::optional<Target> Server::Loop::Take(const Place& place) {
  if (place.kind == "exec") return TableOf(SessionKind::kExec).Take(place.token, Now());
  if (place.kind == "attach") return TableOf(SessionKind::kAttach).Take(place.token, Now());
  if (place.kind == "portforward")
    return TableOf(SessionKind::kPortForward).Take(place.token, Now());
  return std::nullopt;
}

void Server::Loop::Register(const std::string& owner, const std::shared_ptr<Session>& session,
                            const std::shared_ptr<ByteStream>& stream) {
  sessions_.push_back({owner, session, stream});
  if (!looking_) Look();
}

// Ends sessions and connections that are idle, or whose client has hung up while nothing is read of
// it.
void Server::Loop::Look() {
  sessions_.remove_if([](const Entry& entry) { return entry.stream.expired(); });
  const std::list<Entry> now = sessions_;
  for (const Entry& entry : now) Check(entry);
  looking_ = !sessions_.empty();
  if (!looking_) return;
  look_.expires_after(kLook);
  look_.async_wait([this](const ErrorCode& error) {
    if (!error) Look();
  });
}

void Server::Loop::Check(const Entry& entry) {
  const auto stream = entry.stream.lock();
  if (stream == nullptr) return;
  const bool gone = stream->PeerGone();
  if (!gone && absl::FromChrono(Now() - stream->last_activity()) <= options_.idle_timeout) return;
  if (const auto session = entry.session.lock())
    session->End(gone ? SessionEnd::kClientGone : SessionEnd::kIdle);
  else
    stream->Close();  // all was said, and the client does not take it
}

void Server::Loop::EndSessions(const std::string& owner) {
  for (auto& table : tokens_)
    table.DropIf([&owner](const Target& target) { return target.owner == owner; });
  asio::post(io_, [this, owner] {
    const std::list<Entry> now = sessions_;
    for (const Entry& entry : now) {
      if (entry.owner != owner) continue;
      if (const auto session = entry.session.lock()) session->End(SessionEnd::kOwnerEnded);
    }
  });
}

void Server::Loop::BeginStop() {
  stop_by_ = Deadline::After(kStopPatience);
  listener_->Close();
  const std::list<Entry> now = sessions_;
  for (const Entry& entry : now)
    if (const auto session = entry.session.lock()) session->End(SessionEnd::kServerEnding);
  AwaitEmpty();
}

void Server::Loop::AwaitEmpty() {
  if (listener_->connections() == 0 || stop_by_.Passed()) return io_.stop();
  look_.expires_after(kStopLook);
  look_.async_wait([this](const ErrorCode&) { AwaitEmpty(); });
}

void Server::Loop::Stop() {
  if (!thread_.joinable()) return;
  asio::post(io_, [this] { BeginStop(); });
  thread_.join();
}

Server::Server(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}

Server::~Server() = default;

StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, const Logger& log) {
  auto loop = std::make_unique<Loop>(options, log);
  RETURN_IF_ERROR(loop->Open());
  return std::make_unique<Server>(std::move(loop));
}

StatusOr<std::string> Server::ExecUrl(const std::string& owner, const StreamSet& streams,
                                      std::shared_ptr<Command> command) {
  return loop_->UrlFor({SessionKind::kExec, owner, streams, std::move(command), {}, {}});
}

StatusOr<std::string> Server::AttachUrl(const std::string& owner, const StreamSet& streams,
                                        std::shared_ptr<Command> command) {
  return loop_->UrlFor({SessionKind::kAttach, owner, streams, std::move(command), {}, {}});
}

StatusOr<std::string> Server::PortForwardUrl(const std::string& owner, std::vector<uint16_t> ports,
                                             PodSockets sockets) {
  return loop_->UrlFor(
      {SessionKind::kPortForward, owner, {}, nullptr, std::move(ports), std::move(sockets)});
}

void Server::EndSessions(const std::string& owner) { loop_->EndSessions(owner); }

void Server::Stop() { loop_->Stop(); }

}  // namespace gantry::cri::streaming
