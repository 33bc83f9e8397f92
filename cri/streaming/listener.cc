#include "cri/streaming/listener.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include <boost/asio/ip/address.hpp>

#include "runtime/linux/unique_fd.h"

namespace gantry::cri::streaming {
namespace {

using tcp = asio::ip::tcp;

constexpr int kBacklog = 128;
constexpr std::chrono::milliseconds kPause(100);  // when there are no descriptors

}  // namespace

Listener::Listener(asio::io_context* io, tcp::acceptor acceptor)
    : io_(*io), acceptor_(std::move(acceptor)), pause_(io_) {}

StatusOr<std::shared_ptr<Listener>> Listener::Open(asio::io_context* io, const std::string& address,
                                                   int port) {
  ErrorCode error;
  const auto ip = asio::ip::make_address(address, error);
  if (error)
    return absl::InvalidArgumentError(
        absl::StrCat("streaming.address: \"", address, "\" is no IP address"));
  const tcp::endpoint place(ip, static_cast<uint16_t>(port));
  // By hand: Asio's sockets are not close-on-exec from birth.
  UniqueFd made(socket(place.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made.valid()) return SyscallError("socket");
  const int on = 1;
  if (setsockopt(made.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
    return SyscallError("setsockopt", "SO_REUSEADDR");
  if (bind(made.get(), place.data(), static_cast<socklen_t>(place.size())) != 0 ||
      listen(made.get(), kBacklog) != 0)
    return absl::InvalidArgumentError(absl::StrCat(
        "streaming: ", SyscallError("listen", absl::StrCat(address, ":", port)).message()));
  tcp::acceptor acceptor(*io);
  acceptor.assign(place.protocol(), made.get(), error);
  if (error) return absl::InternalError(absl::StrCat("streaming: ", error.message()));
  (void)made.Release();
  return std::make_shared<Listener>(io, std::move(acceptor));
}

std::string Listener::Place() const {
  ErrorCode error;
  const tcp::endpoint place = acceptor_.local_endpoint(error);
  const std::string ip = place.address().to_string();
  return place.address().is_v6() ? absl::StrCat("[", ip, "]:", place.port())
                                 : absl::StrCat(ip, ":", place.port());
}

void Listener::Start(Accepted accepted) {
  accepted_ = std::move(accepted);
  Await();
}

void Listener::Close() {
  ErrorCode ignored;
  acceptor_.close(ignored);
  pause_.cancel();
}

void Listener::Await() {
  acceptor_.async_wait(tcp::acceptor::wait_read,
                       [self = shared_from_this()](const ErrorCode& error) {
                         if (!error) self->Accept();
                       });
}

void Listener::Accept() {
  UniqueFd made(accept4(acceptor_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!made.valid() &&
      (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
    pause_.expires_after(kPause);
    pause_.async_wait([self = shared_from_this()](const ErrorCode& error) {
      if (!error) self->Await();
    });
    return;
  }
  tcp::socket socket(io_);
  ErrorCode error;
  if (made.valid() && *connections_ < kMaxConnections) {
    socket.assign(acceptor_.local_endpoint(error).protocol(), made.get(), error);
    if (!error) (void)made.Release();
  }
  if (socket.is_open()) {
    ErrorCode ignored;  // it only makes small pieces later
    socket.set_option(tcp::no_delay(true), ignored);
    ++*connections_;
    accepted_(std::move(socket),
              std::shared_ptr<void>(nullptr, [count = connections_](void*) { --*count; }));
  }
  Await();
}

}  // namespace gantry::cri::streaming
