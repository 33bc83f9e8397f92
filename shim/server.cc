#include "shim/server.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/base/log.h"
#include "runtime/linux/unix_socket.h"
#include "shim/client.h"
#include "shim/memory.h"

namespace gantry::shim {
namespace {

constexpr size_t kMaxConnections = 8;
constexpr absl::Duration kQuiet = absl::Milliseconds(500);

}  // namespace

Status Server::Listen(const std::string& path) {
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return SyscallError("unlink", path);
  ASSIGN_OR_RETURN(listener_, ListenUnix(path, 0600));
  ASSIGN_OR_RETURN(watch_, loop_->Add(listener_.get(), EPOLLIN, [this](uint32_t) { OnAccept(); }));
  return absl::OkStatus();
}

void Server::OnAccept() {
  UniqueFd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket.valid()) return;
  const auto peer = PeerCredentials(socket.get());
  // The socket's mode keeps others out; this holds when somebody has changed it.
  if (!peer.ok() || peer->uid != 0 || connections_.size() >= kMaxConnections) return;
  if (const Status status = Add(std::move(socket)); !status.ok()) {
    Log(LogLevel::kWarning, "connection refused", {{"error", std::string(status.message())}});
  }
}

Status Server::Add(UniqueFd socket) {
  // The handlers run from the loop only, when the connection has its place in the list.
  auto slot = std::make_shared<Connection*>(nullptr);
  ASSIGN_OR_RETURN(
      std::shared_ptr<Connection> connection,
      Connection::Create(loop_, std::move(socket),
                         {.on_request =
                              [this, slot](uint32_t stream, const proto::Request& request,
                                           std::vector<UniqueFd> fds) {
                                OnRequest(*slot, stream, request, std::move(fds));
                              },
                          .on_closed = [this, slot] { OnClosed(*slot); }}));
  *slot = connection.get();
  connections_.push_back(std::move(connection));
  return absl::OkStatus();
}

std::shared_ptr<Connection> Server::Shared(Connection* connection) {
  for (const auto& candidate : connections_) {
    if (candidate.get() == connection) return candidate;
  }
  return nullptr;
}

void Server::OnRequest(Connection* connection, uint32_t stream, const proto::Request& request,
                       std::vector<UniqueFd> fds) {
  const Responder responder(Shared(connection), stream);
  if (!request.has_hello() && connection != active_) {
    responder.Finish(absl::FailedPreconditionError("say Hello first"));
    return;
  }
  quiet_ = loop_->After(kQuiet, ReleaseMemory);
  service_->Handle(request, std::move(fds), responder);
  if (!request.has_hello() || request.hello().version() != kProtocolVersion) return;
  TakeOver(connection);
  for (const proto::Event& event : events_->Since(request.hello().events_since())) {
    connection->SendEvent(event);
  }
}

void Server::TakeOver(Connection* connection) {
  if (active_ != nullptr && active_ != connection) {
    active_->Close();
    service_->Disconnected();
  }
  active_ = connection;
  events_->SetListener([connection](const proto::Event& event) { connection->SendEvent(event); });
}

void Server::OnClosed(Connection* connection) {
  if (connection == active_) {
    active_ = nullptr;
    events_->SetListener(nullptr);
    service_->Disconnected();
  }
  connections_.remove_if(
      [connection](const auto& candidate) { return candidate.get() == connection; });
}

}  // namespace gantry::shim
