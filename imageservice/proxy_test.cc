#include "imageservice/proxy.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "imageservice/digester.h"
#include "imageservice/testing_certificates.h"
#include "imageservice/testing_client.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Proxy, TheVariablesAreReadInBothSpellings) {
  ProxySettings settings =
      ReadProxySettings({"HTTP_PROXY=http://big:1", "http_proxy=http://small:1",
                         "ALL_PROXY=http://all:1", "X=y", "z"});
  EXPECT_EQ(settings.http, "http://small:1");
  EXPECT_EQ(settings.https, "http://all:1");
  EXPECT_EQ(settings.exceptions, "");
  settings = ReadProxySettings({"HTTPS_PROXY=http://s:1", "NO_PROXY=a,b", "http_proxy="});
  EXPECT_EQ(settings.http, "");
  EXPECT_EQ(settings.https, "http://s:1");
  EXPECT_EQ(settings.exceptions, "a,b");
}

TEST(Proxy, Row65ExceptionsAreMatchedByDomainAddressNetworkAndPort) {
  const struct {
    std::string exceptions, url;
    bool direct;
  } rows[] = {
      {"", "https://reg.example/", false},
      {"*", "https://reg.example/", true},
      {"example", "https://reg.example/", true},
      {"EXAMPLE", "https://Reg.Example/", true},
      {"reg.example", "https://reg.example/", true},
      {"reg.example", "https://a.reg.example/", true},
      {"reg.example", "https://otherreg.example/", false},
      {".example", "https://reg.example/", true},
      {".reg.example", "https://reg.example/", true},
      {"*.reg.example", "https://reg.example/", false},
      {"*.reg.example", "https://a.reg.example/", true},
      {"x, reg.example y", "https://reg.example/", true},
      {"reg.example:443", "https://reg.example/", true},
      {"reg.example:5000", "https://reg.example/", false},
      {"reg.example:5000", "https://reg.example:5000/", true},
      {"10.0.0.0/8", "https://10.20.30.40/", true},
      {"10.0.0.0/8", "https://11.20.30.40/", false},
      {"10.0.0.0/8", "https://10.example/", false},
      {"192.168.128.0/17", "https://192.168.200.1/", true},
      {"192.168.128.0/17", "https://192.168.100.1/", false},
      {"0.0.0.0/0", "https://8.8.8.8/", true},
      {"10.0.0.1", "https://10.0.0.1/", true},
      {"10.0.0.1", "https://10.0.0.10/", false},
      {"10.0.0.1:5000", "https://10.0.0.1:5000/", true},
      {"fd00::/8", "https://[fd12::1]/", true},
      {"fd00::/8", "https://[fe80::1]/", false},
      {"fd00::1", "https://[fd00:0::1]/", true},
      {"[fd00::1]:5000", "https://[fd00::1]:5000/", true},
      {"[fd00::1]:5000", "https://[fd00::1]/", false},
      {"::/0", "https://10.0.0.1/", false},
      {"10.0.0.0/33,10.0.0.0/x,/,.,:", "https://10.0.0.1/", false},
      {"", "http://localhost:5000/", true},
      {"", "https://127.0.0.1/", true},
      {"", "https://[::1]:5000/", true},
  };
  for (const auto& row : rows) {
    const ProxySettings settings{"http://p:3128", "http://p:3128", row.exceptions};
    EXPECT_EQ(ProxyFor(settings, *ParseUrl(row.url)).empty(), row.direct)
        << row.exceptions << " " << row.url;
  }
  EXPECT_EQ(ProxyFor({"http://plain:1", "", ""}, *ParseUrl("https://reg.example/")), "");
}

TEST(Proxy, PasswordsAreNotShown) {
  EXPECT_EQ(ShownProxy("http://user:hunter2@proxy.example:3128"), "http://proxy.example:3128");
  EXPECT_EQ(ShownProxy("user:hunter2@proxy.example:3128"), "http://proxy.example:3128");
  EXPECT_EQ(ShownProxy("socks5h://[fd00::1]"), "socks5h://[fd00::1]");
  EXPECT_THAT(ShownProxy("http://user:hunter2@ bad"), Not(HasSubstr("hunter2")));
}

// Proxies are a setting of the process: each test leaves none behind.
class ProxyInUse : public ::testing::Test {
 protected:
  ~ProxyInUse() override { UseProxies({}); }
  const std::string blob_ = Noise(300'000);
  const std::string digest_ = *DigestOf(blob_);
};

TEST_F(ProxyInUse, Row65PlainRequestsGoThroughItAndExceptionsDoNot) {
  TestServer proxy([&](const TestRequest&) { return TestResponse{.body = blob_}; });
  UseProxies({absl::StrCat("http://user:hunter2@", proxy.host()), "", "direct.example"});
  EXPECT_TRUE(Download(*MakeClient("reg.example:5000"), digest_, blob_.size()).ok());
  ASSERT_EQ(proxy.requests().size(), 1u);
  EXPECT_THAT(proxy.requests()[0].path, HasSubstr("http://reg.example:5000/v2/a/b/blobs/sha256:"));
  EXPECT_THAT(Header(proxy.requests()[0], "proxy-authorization"), HasSubstr("Basic "));
  EXPECT_FALSE(Download(*MakeClient("direct.example:1"), digest_, blob_.size()).ok());
  TestServer local([&](const TestRequest&) { return TestResponse{.body = blob_}; });
  EXPECT_TRUE(Download(*MakeClient(local.host()), digest_, blob_.size()).ok());
  EXPECT_EQ(proxy.requests().size(), 1u) << "loopback is not behind a proxy";
}

TEST_F(ProxyInUse, Row65HttpsIsTunnelledAndTheProxySeesNoCredentials) {
  const TestAuthority authority;
  const TestCertificate pair = authority.Sign("DNS:reg.example");
  TestServer registry(
      {.certificate = pair.certificate, .key = pair.key}, [&](const TestRequest& request) {
        if (Header(request, "authorization").empty())
          return TestResponse{.status = 401, .headers = {{"WWW-Authenticate", "Basic realm=r"}}};
        return TestResponse{.body = blob_};
      });
  TestServer proxy({.tunnel_to = registry.port()},
                   [](const TestRequest&) { return TestResponse{}; });
  UseProxies({"", absl::StrCat("http://", proxy.host()), ""});
  ClientSetup setup{.credentials = {.username = "user", .password = "hunter2"}, .scheme = "https"};
  setup.tls.extra_ca = authority.certificate();
  const auto bytes = Download(*MakeClient("reg.example", setup), digest_, blob_.size());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, blob_);
  ASSERT_FALSE(proxy.requests().empty());
  for (const TestRequest& request : proxy.requests()) {
    EXPECT_EQ(request.method, "CONNECT");
    EXPECT_EQ(request.path, "reg.example:443");
    EXPECT_EQ(Header(request, "authorization"), "");
  }
}

TEST_F(ProxyInUse, Row65AProxyThatFailsIsNamedWithoutItsPassword) {
  const std::string nowhere = absl::StrCat("127.0.0.1:", FreePort());
  for (const std::string& proxy :
       {absl::StrCat("http://user:hunter2@", nowhere), std::string("gopher://user:hunter2@proxy:1"),
        std::string("http://user:hunter2@bad host")}) {
    UseProxies({proxy, "", ""});
    const Status status = Download(*MakeClient("reg.example:5000"), digest_, blob_.size()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_THAT(Text(status), Not(HasSubstr("hunter2")));
  }
  TestServer refusing([](const TestRequest&) { return TestResponse{.status = 407}; });
  UseProxies({"", absl::StrCat("http://", refusing.host()), ""});
  ClientSetup setup{.scheme = "https"};
  const Status status = Download(*MakeClient("reg.example", setup), digest_, blob_.size()).status();
  EXPECT_THAT(Text(status), HasSubstr("407"));
}

}  // namespace
}  // namespace gantry::images
