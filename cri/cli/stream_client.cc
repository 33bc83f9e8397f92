#include "cri/cli/stream_client.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <deque>
#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket.hpp>
#include <nlohmann/json.hpp>

#include "cri/cli/terminal.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::cli {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using tcp = asio::ip::tcp;

constexpr char kStdin = 0;
constexpr char kStdout = 1;
constexpr char kStderr = 2;
constexpr char kStatus = 3;
constexpr char kResize = 4;
constexpr char kEnd = static_cast<char>(255);
constexpr size_t kInputPiece = 32768;
constexpr char kDetachFirst = 0x10;   // Ctrl-P
constexpr char kDetachSecond = 0x11;  // Ctrl-Q

struct Address {
  std::string host, port, path;
};

StatusOr<Address> ParseUrl(absl::string_view url) {
  const std::string whole(url);
  if (absl::StartsWith(url, "https://"))
    return absl::UnimplementedError(
        "gantryd streams by TLS (streaming.tls_cert_file), which this command does not speak: use "
        "crictl or kubectl");
  if (!absl::ConsumePrefix(&url, "http://"))
    return absl::InvalidArgumentError(absl::StrCat("stream URL \"", whole, "\" is not http"));
  const size_t slash = url.find('/');
  const absl::string_view place = url.substr(0, slash);
  const size_t colon = place.rfind(':');
  if (slash == absl::string_view::npos || colon == absl::string_view::npos)
    return absl::InvalidArgumentError(absl::StrCat("stream URL \"", whole, "\" is malformed"));
  absl::string_view host = place.substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");  // IPv6
  return Address{std::string(host), std::string(place.substr(colon + 1)),
                 std::string(url.substr(slash))};
}

// Own standard output; a reader that has gone away ends nothing on the other side.
void Print(int fd, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

std::string TextOf(const nlohmann::json& object, const char* key) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_string()) return "";
  return object[key].get<std::string>();
}

class Relay {
 public:
  explicit Relay(const StreamSession& session)
      : session_(session), socket_(context_), signals_(context_), stop_(eventfd(0, EFD_CLOEXEC)) {}

  StatusOr<SessionResult> Run() {
    RETURN_IF_ERROR(Connect());
    std::optional<RawTerminal> raw;
    if (session_.tty) {
      ASSIGN_OR_RETURN(RawTerminal entered, RawTerminal::Enter(STDIN_FILENO));
      raw.emplace(std::move(entered));
      SendSize();
      boost::system::error_code ignored;  // without it the size stays as it is
      signals_.add(SIGWINCH, ignored);
      WatchSize();
    }
    Read();
    std::thread input([this] { FeedInput(); });
    context_.run();
    const uint64_t one = 1;
    if (write(stop_.get(), &one, sizeof one) < 0) abort();  // an eventfd of ours: cannot be
    input.join();
    return Result();
  }

 private:
  Status Connect() {
    ASSIGN_OR_RETURN(const Address address, ParseUrl(session_.url));
    boost::system::error_code error;
    tcp::resolver resolver(context_);
    const auto places =
        resolver.resolve(address.host, address.port,
                         tcp::resolver::numeric_host | tcp::resolver::numeric_service, error);
    if (!error) asio::connect(socket_.next_layer(), places, error);
    if (!error) {
      socket_.set_option(
          beast::websocket::stream_base::decorator([](beast::websocket::request_type& request) {
            request.set(beast::http::field::sec_websocket_protocol, "v5.channel.k8s.io");
          }));
      socket_.binary(true);
      socket_.handshake(absl::StrCat(address.host, ":", address.port), address.path, error);
    }
    if (error)
      return absl::UnavailableError(absl::StrCat("connect to gantryd's streams at ", address.host,
                                                 ":", address.port, ": ", error.message()));
    return absl::OkStatus();
  }

  void Read() {
    socket_.async_read(buffer_, [this](boost::system::error_code error, size_t) {
      if (error) {
        if (error != beast::websocket::error::closed) broken_ = error.message();
        context_.stop();
        return;
      }
      Take(beast::buffers_to_string(buffer_.data()));
      buffer_.consume(buffer_.size());
      Read();
    });
  }

  void Take(const std::string& message) {
    if (message.empty()) return;
    const absl::string_view content = absl::string_view(message).substr(1);
    if (message[0] == kStdout) Print(STDOUT_FILENO, content);
    if (message[0] == kStderr) Print(STDERR_FILENO, content);
    if (message[0] == kStatus) status_.append(content.data(), content.size());
  }

  // On the context's thread. `sent` is fulfilled once the message is on its way.
  void Send(std::string message, std::shared_ptr<std::promise<void>> sent = nullptr) {
    outgoing_.emplace_back(std::move(message), std::move(sent));
    if (outgoing_.size() == 1) Flush();
  }

  void Flush() {
    socket_.async_write(asio::buffer(outgoing_.front().first),
                        [this](boost::system::error_code error, size_t) {
                          if (outgoing_.front().second) outgoing_.front().second->set_value();
                          outgoing_.pop_front();
                          if (!error && !outgoing_.empty()) Flush();
                        });
  }

  void SendSize() {
    const auto size = SizeOfTerminal(STDIN_FILENO);
    if (!size.has_value()) return;
    Send(absl::StrCat(std::string(1, kResize), "{\"Width\":", size->width,
                      ",\"Height\":", size->height, "}"));
  }

  void WatchSize() {
    signals_.async_wait([this](boost::system::error_code error, int) {
      if (error) return;
      SendSize();
      WatchSize();
    });
  }

  // A thread of its own: standard input may be anything, also what cannot be polled for.
  void FeedInput() {
    bool open = session_.stdin;
    std::string chunk(kInputPiece, '\0');
    while (true) {
      pollfd polled[] = {{stop_.get(), POLLIN, 0},
                         {session_.wake_fd, POLLIN, 0},
                         {open ? STDIN_FILENO : -1, POLLIN, 0}};
      if (poll(polled, 3, -1) < 0) continue;
      if (polled[0].revents != 0) return;
      if (polled[1].revents != 0) return End(SessionEnd::kGivenUp);
      if (polled[2].revents == 0) continue;
      const ssize_t size = read(STDIN_FILENO, chunk.data(), chunk.size());
      if (size < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      open = size > 0;
      std::string text = open ? chunk.substr(0, static_cast<size_t>(size)) : "";
      if (Detaches(text)) return End(SessionEnd::kDetached);
      Deliver(open ? std::string(1, kStdin) + text : std::string{kEnd, kStdin});
    }
  }

  // Waits until it is on its way: what comes faster than the other side reads stays where it is.
  void Deliver(std::string message) {
    auto sent = std::make_shared<std::promise<void>>();
    auto done = sent->get_future();
    asio::post(context_, [this, message = std::move(message), sent]() mutable {
      Send(std::move(message), std::move(sent));
    });
    while (done.wait_for(std::chrono::milliseconds(50)) != std::future_status::ready)
      if (context_.stopped()) return;
  }

  bool Detaches(absl::string_view text) {
    if (!session_.tty) return false;
    for (const char key : text) {
      if (after_first_ && key == kDetachSecond) return true;
      after_first_ = key == kDetachFirst;
    }
    return false;
  }

  void End(SessionEnd end) {
    asio::post(context_, [this, end] {
      end_ = end;
      beast::error_code ignored;
      socket_.next_layer().close(ignored);
      context_.stop();
    });
  }

  StatusOr<SessionResult> Result() {
    if (end_ != SessionEnd::kFinished) return SessionResult{end_, 0};
    if (!status_.empty()) {
      ASSIGN_OR_RETURN(const int code, ExitCodeOfStatus(status_));
      return SessionResult{SessionEnd::kFinished, code};
    }
    return absl::UnavailableError(
        absl::StrCat("the session broke off: ", broken_.empty() ? "no status came" : broken_));
  }

  const StreamSession& session_;
  asio::io_context context_;
  beast::websocket::stream<tcp::socket> socket_;
  asio::signal_set signals_;
  UniqueFd stop_;  // readable once the session is over
  beast::flat_buffer buffer_;
  std::deque<std::pair<std::string, std::shared_ptr<std::promise<void>>>> outgoing_;
  std::string status_, broken_;
  SessionEnd end_ = SessionEnd::kFinished;
  bool after_first_ = false;
};

}  // namespace

StatusOr<int> ExitCodeOfStatus(const std::string& json) {
  const auto status = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!status.is_object())
    return absl::InternalError(absl::StrCat("the session's status is malformed: ", json));
  if (TextOf(status, "status") == "Success") return 0;
  if (TextOf(status, "reason") == "NonZeroExitCode" && status.contains("details") &&
      status["details"].is_object() && status["details"].contains("causes")) {
    for (const auto& cause : status["details"]["causes"]) {
      int code = 0;
      if (TextOf(cause, "reason") == "ExitCode" &&
          absl::SimpleAtoi(TextOf(cause, "message"), &code))
        return code;
    }
  }
  const std::string message = TextOf(status, "message");
  return absl::InternalError(message.empty() ? json : message);
}

StatusOr<SessionResult> RelayStreams(const StreamSession& session) { return Relay(session).Run(); }

}  // namespace gantry::cli
