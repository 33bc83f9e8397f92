#include "imageservice/testing_server.h"

#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace gantry::images {
namespace {

struct sockaddr_in Loopback(uint16_t port) {
  struct sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

UniqueFd ListenOnIpv6(uint16_t* port) {
  UniqueFd listener(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  struct sockaddr_in6 address = {};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  socklen_t size = sizeof(address);
  // A machine without IPv6 has no ::1: port 0 says so.
  *port = 0;
  if (bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) return listener;
  GANTRY_CHECK(listen(listener.get(), 64) == 0);
  GANTRY_CHECK(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  *port = ntohs(address.sin6_port);
  return listener;
}

UniqueFd Listen(uint16_t* port) {
  UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  struct sockaddr_in address = Loopback(0);
  GANTRY_CHECK(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  GANTRY_CHECK(listen(listener.get(), 64) == 0);
  socklen_t size = sizeof(address);
  GANTRY_CHECK(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  *port = ntohs(address.sin_port);
  return listener;
}

bool SendAll(int socket, absl::string_view data) {
  while (!data.empty()) {
    const ssize_t sent = send(socket, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    data.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

std::map<std::string, std::string> ReadHeaders(absl::string_view text) {
  std::map<std::string, std::string> headers;
  for (const absl::string_view line : absl::StrSplit(text, "\r\n", absl::SkipEmpty())) {
    const size_t colon = line.find(':');
    if (colon == absl::string_view::npos) continue;
    headers[absl::AsciiStrToLower(line.substr(0, colon))] =
        std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
  }
  return headers;
}

size_t BodyLength(const std::map<std::string, std::string>& headers) {
  size_t length = 0;
  const auto found = headers.find("content-length");
  if (found != headers.end()) static_cast<void>(absl::SimpleAtoi(found->second, &length));
  return length;
}

// Takes one request from `buffer`, if it is complete.
std::optional<TestRequest> TakeRequest(std::string& buffer) {
  const size_t end = buffer.find("\r\n\r\n");
  if (end == std::string::npos) return std::nullopt;
  const size_t line_end = buffer.find("\r\n");
  TestRequest request;
  request.headers = ReadHeaders(absl::string_view(buffer).substr(line_end, end - line_end));
  const size_t length = BodyLength(request.headers);
  if (buffer.size() < end + 4 + length) return std::nullopt;
  const std::vector<std::string> words = absl::StrSplit(buffer.substr(0, line_end), ' ');
  GANTRY_CHECK(words.size() == 3);
  request.method = words[0];
  const std::pair<std::string, std::string> target =
      absl::StrSplit(words[1], absl::MaxSplits('?', 1));
  request.path = target.first;
  request.query = target.second;
  request.body = buffer.substr(end + 4, length);
  buffer.erase(0, end + 4 + length);
  return request;
}

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;

X509* ReadCertificate(const std::string& pem) {
  const Bio reader(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  return PEM_read_bio_X509(reader.get(), nullptr, nullptr, nullptr);
}

// What a connection needs to speak TLS.
SSL_CTX* MakeContext(const TestServerOptions& options) {
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  const std::unique_ptr<X509, decltype(&X509_free)> own(ReadCertificate(options.certificate),
                                                        X509_free);
  const Bio reader(BIO_new_mem_buf(options.key.data(), static_cast<int>(options.key.size())),
                   BIO_free);
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(
      PEM_read_bio_PrivateKey(reader.get(), nullptr, nullptr, nullptr), EVP_PKEY_free);
  GANTRY_CHECK(SSL_CTX_use_certificate(context, own.get()) == 1);
  GANTRY_CHECK(SSL_CTX_use_PrivateKey(context, key.get()) == 1);
  if (options.client_authority.empty()) return context;
  const std::unique_ptr<X509, decltype(&X509_free)> authority(
      ReadCertificate(options.client_authority), X509_free);
  GANTRY_CHECK(X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority.get()) == 1);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return context;
}

}  // namespace

// A client's connection, in the clear or over TLS.
class TestConnection {
 public:
  explicit TestConnection(int socket) : socket_(socket) {}

  // False when the handshake fails.
  bool StartTls(const TestServerOptions& options) {
    context_.reset(MakeContext(options));
    tls_.reset(SSL_new(context_.get()));
    SSL_set_fd(tls_.get(), socket_.get());
    return SSL_accept(tls_.get()) == 1;
  }
  ssize_t Receive(char* data, size_t size) {
    if (tls_ == nullptr) return recv(socket_.get(), data, size, 0);
    return SSL_read(tls_.get(), data, static_cast<int>(size));
  }
  bool Send(absl::string_view data) {
    if (tls_ == nullptr) return SendAll(socket_.get(), data);
    return data.empty() || SSL_write(tls_.get(), data.data(), static_cast<int>(data.size())) > 0;
  }
  // Waits until there is something to receive; false when `stop` is readable first.
  bool Wait(int stop) const {
    if (tls_ != nullptr && SSL_pending(tls_.get()) > 0) return true;
    struct pollfd polls[] = {{socket_.get(), POLLIN, 0}, {stop, POLLIN, 0}};
    poll(polls, 2, -1);
    return polls[1].revents == 0;
  }
  int fd() const { return socket_.get(); }

 private:
  const UniqueFd socket_;
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_{nullptr, SSL_CTX_free};
  std::unique_ptr<SSL, decltype(&SSL_free)> tls_{nullptr, SSL_free};
};

TestServer::TestServer(TestServerOptions options, Handler handler)
    : options_(std::move(options)),
      handler_(std::move(handler)),
      listener_(options_.ipv6 ? ListenOnIpv6(&port_) : Listen(&port_)),
      stop_(eventfd(0, EFD_CLOEXEC)) {
  signal(SIGPIPE, SIG_IGN);  // OpenSSL writes without MSG_NOSIGNAL
  accepting_ = std::thread([this] { Accept(); });
}

TestServer::~TestServer() {
  eventfd_write(stop_.get(), 1);
  accepting_.join();
  for (std::thread& connection : connections_) connection.join();
}

std::string TestServer::host() const {
  return absl::StrCat(options_.ipv6 ? "[::1]:" : "127.0.0.1:", port_);
}

std::vector<TestRequest> TestServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

int TestServer::Count(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  int count = 0;
  for (const TestRequest& request : requests_) count += request.path == path ? 1 : 0;
  return count;
}

void TestServer::Accept() {
  for (;;) {
    struct pollfd polls[] = {{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    poll(polls, 2, -1);
    if (polls[1].revents != 0) return;
    const int connection = accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (connection >= 0) connections_.emplace_back([this, connection] { Serve(connection); });
  }
}

void TestServer::Serve(int socket) {
  TestConnection connection(socket);
  if (!options_.certificate.empty() && !connection.StartTls(options_)) return;
  std::string buffer;
  while (connection.Wait(stop_.get())) {
    char piece[65536];
    const ssize_t size = connection.Receive(piece, sizeof(piece));
    if (size <= 0) return;
    buffer.append(piece, static_cast<size_t>(size));
    while (std::optional<TestRequest> request = TakeRequest(buffer)) {
      TestResponse response;
      {
        const std::lock_guard lock(mutex_);
        requests_.push_back(*request);
        response = handler_(*request);
      }
      if (request->method == "CONNECT" && response.status == 200) return Tunnel(connection);
      const int now = ++at_once_;
      for (int most = most_at_once_; most < now && !most_at_once_.compare_exchange_weak(most, now);)
        continue;
      Answer(connection, response);
      --at_once_;
      if (response.cut_after.has_value()) return;
    }
  }
}

// As far as the mistakes let it. False when the client has gone or the server ends.
bool TestServer::SendBody(TestConnection& connection, const TestResponse& response) {
  absl::string_view body = response.body;
  if (response.cut_after.has_value()) body = body.substr(0, *response.cut_after);
  if (response.stall_after.has_value()) body = body.substr(0, *response.stall_after);
  const uint64_t rate = response.bytes_per_second;
  // Twenty pieces a second, or one byte at a time.
  const size_t step = rate == 0 ? 1 << 20 : std::max<size_t>(1, rate / 20);
  // By the clock, so that what a busy machine oversleeps does not add up.
  auto due = std::chrono::steady_clock::now();
  while (!body.empty()) {
    const absl::string_view piece = body.substr(0, step);
    if (!connection.Send(piece)) return false;
    body_bytes_ += piece.size();
    body.remove_prefix(piece.size());
    if (rate == 0) continue;
    const uint64_t sharers = response.shared_rate ? static_cast<uint64_t>(at_once_.load()) : 1;
    due += std::chrono::microseconds(1'000'000 * piece.size() * sharers / rate);
    const auto left = due - std::chrono::steady_clock::now();
    const auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(left).count();
    struct pollfd polls[] = {{connection.fd(), POLLRDHUP, 0}, {stop_.get(), POLLIN, 0}};
    if (poll(polls, 2, static_cast<int>(std::max<int64_t>(wait, 0))) > 0) return false;
  }
  return true;
}

void TestServer::Answer(TestConnection& connection, const TestResponse& response) {
  if (response.silent) {
    connection.Wait(stop_.get());
    return;
  }
  std::string head = absl::StrCat("HTTP/1.1 ", response.status, " Said\r\nContent-Length: ",
                                  response.content_length.value_or(response.body.size()), "\r\n");
  for (const auto& [name, value] : response.headers)
    absl::StrAppend(&head, name, ": ", value, "\r\n");
  if (!connection.Send(absl::StrCat(head, "\r\n")) || !SendBody(connection, response)) return;
  // Until the client hangs up or the server ends.
  if (response.stall_after.has_value()) connection.Wait(stop_.get());
  if (response.cut_after.has_value() && response.reset) {
    const struct linger hard = {1, 0};
    setsockopt(connection.fd(), SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  }
}

void TestServer::Tunnel(TestConnection& connection) {
  const UniqueFd other(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const struct sockaddr_in address = Loopback(options_.tunnel_to.value());
  if (connect(other.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return;
  connection.Send("HTTP/1.1 200 Connected\r\n\r\n");
  for (;;) {
    struct pollfd polls[] = {
        {connection.fd(), POLLIN, 0}, {other.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    poll(polls, 3, -1);
    if (polls[2].revents != 0) return;
    const int from = polls[0].revents != 0 ? connection.fd() : other.get();
    char piece[65536];
    const ssize_t size = recv(from, piece, sizeof(piece), 0);
    if (size <= 0) return;
    SendAll(from == other.get() ? connection.fd() : other.get(),
            absl::string_view(piece, static_cast<size_t>(size)));
  }
}

StatusOr<TestAnswer> TestExchange(uint16_t port, const TestRequest& request) {
  const UniqueFd connection(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const struct sockaddr_in address = Loopback(port);
  if (connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) !=
      0) {
    return absl::UnavailableError("nobody listens");
  }
  std::string text =
      absl::StrCat(request.method, " ", request.path, request.query.empty() ? "" : "?",
                   request.query, " HTTP/1.1\r\nHost: 127.0.0.1:", port,
                   "\r\nConnection: close\r\nContent-Length: ", request.body.size(), "\r\n");
  for (const auto& [name, value] : request.headers)
    absl::StrAppend(&text, name, ": ", value, "\r\n");
  if (!SendAll(connection.get(), absl::StrCat(text, "\r\n", request.body)))
    return absl::UnavailableError("cut");
  std::string received;
  char piece[65536];
  for (ssize_t size; (size = recv(connection.get(), piece, sizeof(piece), 0)) > 0;) {
    received.append(piece, static_cast<size_t>(size));
  }
  TestAnswer answer;
  const size_t end = received.find("\r\n\r\n");
  if (end == std::string::npos || received.size() < 12 ||
      !absl::SimpleAtoi(received.substr(9, 3), &answer.status)) {
    return absl::UnavailableError("no answer");
  }
  answer.headers = ReadHeaders(absl::string_view(received).substr(0, end));
  answer.body = received.substr(end + 4);
  return answer;
}

uint16_t FreePort() {
  uint16_t port = 0;
  const UniqueFd listener = Listen(&port);
  return port;
}

}  // namespace gantry::images
