#include "imageservice/testing_server.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

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

}  // namespace

TestServer::TestServer(Handler handler)
    : handler_(std::move(handler)), listener_(Listen(&port_)), stop_(eventfd(0, EFD_CLOEXEC)) {
  accepting_ = std::thread([this] { Accept(); });
}

TestServer::~TestServer() {
  eventfd_write(stop_.get(), 1);
  accepting_.join();
  for (std::thread& connection : connections_) connection.join();
}

std::string TestServer::host() const { return absl::StrCat("127.0.0.1:", port_); }

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

void TestServer::Serve(int connection) {
  const UniqueFd owner(connection);
  std::string buffer;
  for (;;) {
    struct pollfd polls[] = {{connection, POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    poll(polls, 2, -1);
    if (polls[1].revents != 0) return;
    char piece[65536];
    const ssize_t size = recv(connection, piece, sizeof(piece), 0);
    if (size <= 0) return;
    buffer.append(piece, static_cast<size_t>(size));
    while (std::optional<TestRequest> request = TakeRequest(buffer)) {
      TestResponse response;
      {
        const std::lock_guard lock(mutex_);
        requests_.push_back(*request);
        response = handler_(*request);
      }
      Answer(connection, response);
      if (response.cut_after.has_value()) return;
    }
  }
}

void TestServer::Answer(int connection, const TestResponse& response) {
  std::string head = absl::StrCat("HTTP/1.1 ", response.status, " Said\r\nContent-Length: ",
                                  response.content_length.value_or(response.body.size()), "\r\n");
  for (const auto& [name, value] : response.headers)
    absl::StrAppend(&head, name, ": ", value, "\r\n");
  absl::string_view body = response.body;
  if (response.cut_after.has_value()) body = body.substr(0, *response.cut_after);
  if (response.stall_after.has_value()) body = body.substr(0, *response.stall_after);
  if (!SendAll(connection, absl::StrCat(head, "\r\n")) || !SendAll(connection, body)) return;
  if (!response.stall_after.has_value()) return;
  // Until the client hangs up or the server ends.
  struct pollfd polls[] = {{connection, POLLIN, 0}, {stop_.get(), POLLIN, 0}};
  poll(polls, 2, -1);
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
