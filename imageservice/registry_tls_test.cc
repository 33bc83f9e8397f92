// Registries over TLS with certificates made by the test, and on IPv6.
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "imageservice/digester.h"
#include "imageservice/testing_certificates.h"
#include "imageservice/testing_client.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;

const std::string kBlob = Noise(400'000);
const std::string kDigest = *DigestOf(kBlob);

class TlsRegistry : public ::testing::Test {
 protected:
  TestServerOptions Options() const {
    return {.certificate = server_pair_.certificate, .key = server_pair_.key};
  }
  static TestResponse Blob(const TestRequest&) { return {.body = kBlob}; }
  Status Fetch(const TestServer& server, const TlsOptions& tls) const {
    ClientSetup setup{.scheme = "https"};
    setup.tls = tls;
    return Download(*MakeClient(server.host(), setup), kDigest, kBlob.size()).status();
  }
  const TestAuthority authority_{};
  const TestCertificate server_pair_ = authority_.Sign("IP:127.0.0.1,IP:::1");
  const TlsOptions trusting_{.extra_ca = authority_.certificate()};
};

TEST_F(TlsRegistry, Row65APrivateAuthorityMustBeKnown) {
  TestServer server(Options(), Blob);
  EXPECT_TRUE(Fetch(server, trusting_).ok());
  const Status unknown = Fetch(server, {});
  EXPECT_EQ(unknown.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Text(unknown), HasSubstr("certificate"));
  const TlsOptions wrong{.extra_ca = TestAuthority().certificate()};
  EXPECT_EQ(Fetch(server, wrong).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(Fetch(server, {.skip_verify = true}).ok());
}

TEST_F(TlsRegistry, Row65TheNameInTheCertificateMustBeTheHosts) {
  const TestCertificate other = authority_.Sign("DNS:other.example");
  TestServer server({.certificate = other.certificate, .key = other.key}, Blob);
  const Status status = Fetch(server, trusting_);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Text(status), HasSubstr("127.0.0.1"));
}

TEST_F(TlsRegistry, ClientCertificatesAreShown) {
  TestServerOptions options = Options();
  options.client_authority = authority_.certificate();
  TestServer server(options, Blob);
  EXPECT_EQ(Fetch(server, trusting_).code(), absl::StatusCode::kUnavailable);
  const TestCertificate own = authority_.Sign("DNS:node");
  TlsOptions tls = trusting_;
  tls.client_cert = own.certificate;
  tls.client_key = own.key;
  const Status status = Fetch(server, tls);
  EXPECT_TRUE(status.ok()) << status;
  const TestCertificate stranger = TestAuthority().Sign("DNS:node");
  tls.client_cert = stranger.certificate;
  tls.client_key = stranger.key;
  EXPECT_EQ(Fetch(server, tls).code(), absl::StatusCode::kUnavailable);
}

TEST_F(TlsRegistry, Row65ThereIsNoFallBackToPlainHttp) {
  TestServer plain(Blob);
  ClientSetup setup{.scheme = "https"};
  setup.dial_timeout = std::chrono::milliseconds(200);  // it waits for the end of a request
  EXPECT_EQ(Download(*MakeClient(plain.host(), setup), kDigest, kBlob.size()).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_TRUE(plain.requests().empty());
  TestServer server(Options(), [&](const TestRequest&) {
    return TestResponse{.status = 307,
                        .headers = {{"Location", absl::StrCat("http://", plain.host(), "/x")}}};
  });
  const Status status = Fetch(server, trusting_);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Text(status), HasSubstr("redirect from https to"));
  EXPECT_TRUE(plain.requests().empty());
}

TEST_F(TlsRegistry, Row64ATokenServerInTheClearGetsNoCredentials) {
  TestServer tokens([](const TestRequest&) { return TestResponse{.body = R"({"token":"t"})"}; });
  TestServer server(Options(), [&](const TestRequest&) {
    return TestResponse{.status = 401,
                        .headers = {{"WWW-Authenticate", absl::StrCat("Bearer realm=\"http://",
                                                                      tokens.host(), "/token\"")}}};
  });
  const Status status = Fetch(server, trusting_);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_THAT(Text(status), HasSubstr("in the clear"));
  EXPECT_TRUE(tokens.requests().empty());
}

TEST_F(TlsRegistry, RegistriesOnIpv6AreAskedByTheirAddress) {
  TestServer plain({.ipv6 = true}, Blob);
  if (plain.port() == 0) GTEST_SKIP() << "this machine has no [::1]";
  EXPECT_TRUE(Download(*MakeClient(plain.host()), kDigest, kBlob.size()).ok());
  EXPECT_EQ(Header(plain.requests()[0], "host"), plain.host());
  TestServerOptions options = Options();
  options.ipv6 = true;
  TestServer server(options, Blob);
  const Status status = Fetch(server, trusting_);
  EXPECT_TRUE(status.ok()) << status;
}

}  // namespace
}  // namespace gantry::images
