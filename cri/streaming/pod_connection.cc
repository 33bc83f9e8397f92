#include "cri/streaming/pod_connection.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <boost/asio/ip/address_v4.hpp>
#include <boost/asio/ip/address_v6.hpp>

#include "cri/streaming/limits.h"

namespace gantry::cri::streaming {
namespace {

using tcp = asio::ip::tcp;

constexpr std::chrono::seconds kConnect(30);
constexpr std::chrono::seconds kSilence(60);  // of the direction that is still open

}  // namespace

PodConnection::PodConnection(asio::io_context* io, PodSockets sockets, uint16_t port,
                             Client* client)
    : sockets_(std::move(sockets)), port_(port), client_(client), socket_(*io), timer_(*io) {}

void PodConnection::Close() { (void)TakeClient(); }

PodConnection::Client* PodConnection::TakeClient() {
  timer_.cancel();
  ErrorCode ignored;
  socket_.close(ignored);
  return std::exchange(client_, nullptr);
}

// --- Connecting ----------------------------------------------------------------------------------

void PodConnection::Connect() {
  timer_.expires_after(kConnect);
  timer_.async_wait([self = shared_from_this()](const ErrorCode& error) {
    if (error || self->client_ == nullptr || self->connected_) return;
    self->TakeClient()->OnConnectFailed("connecting took too long");
  });
  TryNext();
}

void PodConnection::TryNext() {
  if (attempt_ == 2) {
    TakeClient()->OnConnectFailed(
        absl::StrCat("failed to connect to localhost:", port_,
                     " inside of the pod: ", absl::StrJoin(errors_, ", ")));
    return;
  }
  const bool v4 = attempt_++ == 0;
  auto made = sockets_(v4 ? AF_INET : AF_INET6);
  if (absl::IsFailedPrecondition(made.status())) {
    TakeClient()->OnConnectFailed(std::string(made.status().message()));
    return;
  }
  ErrorCode error;
  if (made.ok()) socket_.assign(v4 ? tcp::v4() : tcp::v6(), made->get(), error);
  if (!made.ok() || error) {
    errors_.push_back(made.ok() ? error.message() : std::string(made.status().message()));
    TryNext();
    return;
  }
  (void)made->Release();
  socket_.non_blocking(true, error);  // of a socket that is open: cannot fail
  const asio::ip::address place = v4 ? asio::ip::address(asio::ip::address_v4::loopback())
                                     : asio::ip::address(asio::ip::address_v6::loopback());
  socket_.async_connect(
      tcp::endpoint(place, port_), [self = shared_from_this(), v4](const ErrorCode& failed) {
        if (self->client_ == nullptr) return;
        if (!failed) return self->OnConnected();
        self->errors_.push_back(absl::StrCat(v4 ? "127.0.0.1: " : "[::1]: ", failed.message()));
        ErrorCode ignored;
        self->socket_.close(ignored);
        self->TryNext();
      });
}

void PodConnection::OnConnected() {
  connected_ = true;
  timer_.cancel();
  ErrorCode ignored;  // it only makes small pieces later
  socket_.set_option(tcp::no_delay(true), ignored);
  WriteInput();
  Pump();
}

// --- To the pod ----------------------------------------------------------------------------------

bool PodConnection::Accepts() const { return input_.Accepts(); }

void PodConnection::Write(absl::string_view data) {
  if (input_gone_ || input_ended_) return;
  input_.Append(data);
  WriteInput();
}

void PodConnection::CloseWrite() {
  input_ended_ = true;
  WriteInput();
}

void PodConnection::WriteInput() {
  if (client_ == nullptr || !connected_) return;
  while (!input_gone_ && !input_waiting_ && !input_.empty()) {
    const absl::string_view left = input_.left();
    const ssize_t written = send(socket_.native_handle(), left.data(), left.size(), MSG_NOSIGNAL);
    if (written < 0 && IsTemporary(errno)) {
      AwaitInputRoom();
      break;
    }
    // A pod that has reset the connection may have said something before: that is still read.
    if (written < 0)
      input_gone_ = true;
    else
      input_.Written(static_cast<size_t>(written));
  }
  InputWritten();
}

void PodConnection::AwaitInputRoom() {
  input_waiting_ = true;
  socket_.async_wait(tcp::socket::wait_write, [self = shared_from_this()](const ErrorCode& error) {
    self->input_waiting_ = false;
    if (!error) self->WriteInput();
  });
}

void PodConnection::InputWritten() {
  input_gone_ ? input_.Drop() : input_.Trim();
  if (input_ended_ && input_.empty() && !input_shut_) {
    input_shut_ = true;
    ErrorCode ignored;  // the pod may be gone
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
  }
  Quiet();
  if (client_ != nullptr && input_.HasRoomAgain()) client_->OnRoom();
}

// --- From the pod --------------------------------------------------------------------------------

void PodConnection::Pump() {
  constexpr int kTurns = 4;  // then others have theirs
  if (!connected_ || output_waiting_) return;
  const auto self = shared_from_this();
  for (int i = 0; i < kTurns; ++i)
    if (!PumpOnce()) return;
  AwaitOutput();
}

// False: nothing more for now.
bool PodConnection::PumpOnce() {
  if (client_ == nullptr || output_ended_ || client_->Full()) return false;
  char buffer[kChunk];
  const ssize_t size = recv(socket_.native_handle(), buffer, sizeof buffer, 0);
  if (size < 0 && IsTemporary(errno)) {
    AwaitOutput();
    return false;
  }
  if (size < 0) {
    TakeClient()->OnBroken();
    return false;
  }
  if (size == 0) {
    OutputEnded();
    return false;
  }
  client_->OnData(absl::string_view(buffer, static_cast<size_t>(size)));
  Quiet();
  return true;
}

void PodConnection::AwaitOutput() {
  if (client_ == nullptr || output_waiting_) return;
  output_waiting_ = true;
  socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](const ErrorCode& error) {
    self->output_waiting_ = false;
    if (!error) self->Pump();
  });
}

void PodConnection::OutputEnded() {
  output_ended_ = true;
  client_->OnEnd();
  Quiet();
}

// Every byte of the one direction that is left gives it more time.
void PodConnection::Quiet() {
  if (client_ == nullptr || !connected_) return;
  const bool input_over = input_shut_ || input_gone_;
  if (input_over && output_ended_) {
    TakeClient()->OnFinished();
    return;
  }
  if (!input_over && !output_ended_) return;
  timer_.expires_after(kSilence);
  timer_.async_wait([self = shared_from_this()](const ErrorCode& error) {
    if (error || self->client_ == nullptr) return;
    // What the pod has said and a slow client leaves no room for is no silence.
    char byte = 0;
    const bool unread = !self->output_ended_ &&
                        recv(self->socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
    unread ? self->Quiet() : self->TakeClient()->OnFinished();
  });
}

}  // namespace gantry::cri::streaming
