#include "shim/connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include "runtime/base/log.h"

namespace gantry::shim {

StatusOr<std::unique_ptr<Connection>> Connection::Create(EventLoop* loop, UniqueFd socket,
                                                         Handlers handlers) {
  auto connection = std::make_unique<Connection>(std::move(socket), std::move(handlers));
  Connection* raw = connection.get();
  ASSIGN_OR_RETURN(raw->watch_, loop->Add(raw->socket_.get(), EPOLLIN,
                                          [raw](uint32_t events) { raw->OnReady(events); }));
  return connection;
}

void Connection::SendReply(uint32_t stream, const proto::Reply& reply, std::span<const int> fds) {
  Send(FrameType::kReply, stream, reply.SerializeAsString(), fds);
}

void Connection::SendEvent(const proto::Event& event) {
  Send(FrameType::kEvent, 0, event.SerializeAsString(), {});
}

void Connection::Send(FrameType type, uint32_t stream, const std::string& body,
                      std::span<const int> fds) {
  const Frame frame{.type = type, .stream = stream, .body = body, .fds = {}};
  if (const Status sent = sender_.Send(socket_.get(), frame, fds); !sent.ok()) {
    Log(LogLevel::kWarning, "connection lost", {{"error", std::string(sent.message())}});
    Close();
    return;
  }
  if (sender_.pending()) watch_.SetEvents(EPOLLIN | EPOLLOUT);
}

void Connection::Close() { shutdown(socket_.get(), SHUT_RDWR); }

bool Connection::Dispatch(Frame frame) {
  proto::Request request;
  if (frame.type != FrameType::kRequest || !request.ParseFromString(frame.body)) {
    Log(LogLevel::kWarning, "message is no request");
    return false;
  }
  frame.body = {};
  handlers_.on_request(frame.stream, request, std::move(frame.fds));
  return true;
}

bool Connection::Read() {
  std::vector<Frame> frames;
  const auto outcome = ReceiveFrames(socket_.get(), &decoder_, &frames);
  for (Frame& frame : frames) {
    if (!Dispatch(std::move(frame))) return false;
  }
  if (!outcome.ok()) {
    Log(LogLevel::kWarning, "connection broken",
        {{"error", std::string(outcome.status().message())}});
  }
  return outcome.ok() && *outcome != ReceiveOutcome::kClosed;
}

void Connection::OnReady(uint32_t events) {
  if ((events & EPOLLOUT) != 0) {
    if (!sender_.Flush(socket_.get()).ok()) Close();
    if (!sender_.pending()) watch_.SetEvents(EPOLLIN);
  }
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0 || Read()) return;
  watch_.Reset();
  const std::function<void()> on_closed = handlers_.on_closed;
  on_closed();  // nothing of ours after it
}

void Responder::Ok(const proto::Reply& reply, std::span<const int> fds) const {
  if (auto connection = connection_.lock()) connection->SendReply(stream_, reply, fds);
}

void Responder::Finish(const Status& status) const {
  proto::Reply reply;
  reply.set_status_code(static_cast<int>(status.code()));
  reply.set_status_message(std::string(status.message()));
  Ok(reply);
}

}  // namespace gantry::shim
