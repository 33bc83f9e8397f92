// The HTTP edge, through a real server on a loopback port of its own.
#include "cri/streaming/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::cri::streaming {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

// Connected to the server of a URL.
class Client {
 public:
  explicit Client(const std::string& url)
      : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const size_t colon = url.rfind(':');
    const size_t slash = url.find('/', colon);
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(url.substr(colon + 1, slash - colon - 1), &port)) << url;
    path_ = url.substr(slash);
    sockaddr_in place = {};
    place.sin_family = AF_INET;
    place.sin_port = htons(static_cast<uint16_t>(port));
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval limit = {20, 0};
    setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    EXPECT_EQ(connect(socket_.get(), reinterpret_cast<sockaddr*>(&place), sizeof place), 0);
  }
  [[nodiscard]] const std::string& path() const { return path_; }
  void Send(const std::string& text) {
    EXPECT_EQ(send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  // What comes until the server closes.
  std::string ReadAll() {
    std::string text;
    char buffer[4096];
    ssize_t size;
    while ((size = recv(socket_.get(), buffer, sizeof buffer, 0)) > 0)
      text.append(buffer, static_cast<size_t>(size));
    return text;
  }
  // As far as the end of a head.
  std::string ReadHead() {
    std::string text;
    char byte;
    while (text.find("\r\n\r\n") == std::string::npos && recv(socket_.get(), &byte, 1, 0) == 1)
      text.push_back(byte);
    return text;
  }

 private:
  UniqueFd socket_;
  std::string path_;
};

class StreamingServer : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = Server::Start({}, Logger(LogFormat::kText, LogLevel::kError));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  // A port-forward: it needs no process.
  std::string Url() {
    const auto url = server_->PortForwardUrl("pod", {}, [](int) -> StatusOr<UniqueFd> {
      return absl::FailedPreconditionError("closed");
    });
    EXPECT_TRUE(url.ok());
    return url.value_or("");
  }
  static std::string Ask(const std::string& url, const std::string& method,
                         const std::string& headers) {
    Client client(url);
    client.Send(
        absl::StrCat(method, " ", client.path(), " HTTP/1.1\r\nHost: x\r\n", headers, "\r\n"));
    return client.ReadAll();
  }
  std::unique_ptr<Server> server_;
};

constexpr char kSpdy[] =
    "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n";

TEST_F(StreamingServer, UrlsAreComplete) {
  EXPECT_THAT(Url(), MatchesRegex("http://127\\.0\\.0\\.1:[0-9]+/portforward/[A-Za-z0-9_-]{22}"));
}

TEST_F(StreamingServer, UpgradesOnceAndSaysNothingMore) {
  const std::string url = Url();
  Client client(url);
  client.Send(absl::StrCat("POST ", client.path(), " HTTP/1.1\r\nHost: x\r\n", kSpdy,
                           "Content-Length: 0\r\n\r\n"));
  const std::string head = client.ReadHead();
  EXPECT_THAT(head, StartsWith("HTTP/1.1 101 "));
  EXPECT_THAT(head, HasSubstr("X-Stream-Protocol-Version: portforward.k8s.io\r\n"));
  EXPECT_THAT(Ask(url, "POST", kSpdy), StartsWith("HTTP/1.1 404 "));
  server_->EndSessions("another pod");
  server_->EndSessions("pod");
  EXPECT_THAT(client.ReadAll(), ::testing::SizeIs(16)) << "GOAWAY, and the end";
}

TEST_F(StreamingServer, ATokenIsUsedUpByWhatIsRefused) {
  struct Row {
    const char* description;
    std::string method, headers, answer;
  };
  const Row kRows[] = {
      {"another method", "DELETE", kSpdy, "HTTP/1.1 405 "},
      {"no upgrade", "GET", "", "HTTP/1.1 400 "},
      {"no version", "POST", "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n", "HTTP/1.1 400 "},
      {"no version of ours", "POST",
       "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v9\r\n",
       "HTTP/1.1 403 "},
      {"a body", "POST", absl::StrCat(kSpdy, "Content-Length: 1\r\n"), "HTTP/1.1 400 "},
      {"a broken header", "POST", "no colon\r\n", "HTTP/1.1 400 "},
  };
  for (const Row& row : kRows) {
    const std::string url = Url();
    EXPECT_THAT(Ask(url, row.method, row.headers), StartsWith(row.answer)) << row.description;
    EXPECT_THAT(Ask(url, "POST", kSpdy), StartsWith("HTTP/1.1 404 ")) << row.description;
  }
}

TEST_F(StreamingServer, ATokenIsOfOneKind) {
  std::string url = Url();
  url.replace(url.find("/portforward/"), 13, "/exec/");
  EXPECT_THAT(Ask(url, "POST", kSpdy), StartsWith("HTTP/1.1 404 "));
}

TEST_F(StreamingServer, AHeadHasABound) {
  Client client(Url());
  client.Send(absl::StrCat("GET ", client.path(), " HTTP/1.1\r\nX: ", std::string(20000, 'x')));
  EXPECT_THAT(client.ReadAll(), StartsWith("HTTP/1.1 431 "));
}

TEST_F(StreamingServer, AnAddressThatIsTakenIsAnError) {
  const std::string url = Url();
  int port = 0;
  const size_t colon = url.rfind(':');
  ASSERT_TRUE(absl::SimpleAtoi(url.substr(colon + 1, url.find('/', colon) - colon - 1), &port));
  ServerOptions options;
  options.port = port;
  const auto second = Server::Start(options, Logger(LogFormat::kText, LogLevel::kError));
  EXPECT_TRUE(absl::IsInvalidArgument(second.status()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("Address already in use"));
}

}  // namespace
}  // namespace gantry::cri::streaming
