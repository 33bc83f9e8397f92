// Against a server on loopback that makes the mistakes that servers make.
#include "imageservice/registry_client.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "imageservice/digester.h"
#include "imageservice/testing_client.h"
#include "imageservice/testing_registry.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kBlob = Noise(3'000'000);
const std::string kDigest = *DigestOf(kBlob);

TEST(BlobDownload, ABrokenConnectionIsResumedWhereItBroke) {
  MemoryRegistry memory;
  memory.AddBlob(kDigest, kBlob);
  int answers = 0;
  TestServer server([&](const TestRequest& request) {
    TestResponse response = memory.Answer(request);
    if (++answers <= 2) response.cut_after = 1'200'000;
    return response;
  });
  const auto bytes = Download(*MakeClient(server.host()), kDigest, kBlob.size());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_TRUE(*bytes == kBlob);
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(Header(requests[0], "range"), "")
      << "a range from the first byte breaks small registries";
  EXPECT_EQ(Header(requests[1], "range"), "bytes=1200000-");
  EXPECT_EQ(Header(requests[2], "range"), "bytes=2400000-");
}

TEST(BlobDownload, AServerWithoutRangesIsReadAgainFromTheStart) {
  int answers = 0;
  TestServer server([&](const TestRequest&) {
    TestResponse response{.body = kBlob};
    if (++answers == 1) response.cut_after = 2'000'000;
    return response;
  });
  const auto bytes = Download(*MakeClient(server.host()), kDigest, kBlob.size());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_TRUE(*bytes == kBlob);
}

TEST(BlobDownload, FaultsHaveTheirCodeAndName) {
  const std::string other = Noise(3'000'001).substr(1);
  const struct {
    std::string description;
    TestResponse response;
    absl::StatusCode code;
    std::string text;
  } rows[] = {
      {"wrong content", {.body = other}, absl::StatusCode::kDataLoss, "digest sha256:"},
      {"shorter", {.body = kBlob.substr(1)}, absl::StatusCode::kDataLoss, "2999999 bytes"},
      {"longer", {.body = kBlob + "x"}, absl::StatusCode::kDataLoss, "3000001 bytes"},
      {"missing", {.status = 404}, absl::StatusCode::kNotFound, "HTTP 404"},
      {"forbidden", {.status = 403}, absl::StatusCode::kPermissionDenied, "HTTP 403"},
      {"always broken", {.status = 500}, absl::StatusCode::kUnavailable, "HTTP 500"},
      {"always cut",
       {.body = kBlob, .cut_after = 10},
       absl::StatusCode::kUnavailable,
       "of 3000000 bytes"},
      {"login without a way", {.status = 401}, absl::StatusCode::kUnauthenticated, "how to log in"},
      {"redirect to nowhere", {.status = 307}, absl::StatusCode::kUnavailable, "redirect"},
      {"redirect to a file",
       {.status = 307, .headers = {{"Location", "file:///etc/passwd"}}},
       absl::StatusCode::kUnavailable,
       "http or https"},
      {"redirect in a circle",
       {.status = 307, .headers = {{"Location", "/v2/again"}}},
       absl::StatusCode::kUnavailable,
       "5 redirects"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.description);
    TestServer server([&](const TestRequest&) { return row.response; });
    const Status status = Download(*MakeClient(server.host()), kDigest, kBlob.size()).status();
    EXPECT_EQ(status.code(), row.code) << status;
    EXPECT_THAT(Text(status), HasSubstr(row.text));
    EXPECT_THAT(Text(status), HasSubstr(absl::StrCat(server.host(), "/v2/a/b/blobs/", kDigest)));
  }
}

TEST(BlobDownload, AChunkedBodyOfTheWrongLengthIsDataLoss) {
  // Without Content-Length only counting tells.
  TestServer server([&](const TestRequest&) {
    return TestResponse{.headers = {{"Transfer-Encoding", "chunked"}},
                        .body = "5\r\nhello\r\n0\r\n\r\n"};
  });
  const std::string digest = *DigestOf("hello!");
  EXPECT_EQ(Download(*MakeClient(server.host()), digest, 6).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(Download(*MakeClient(server.host()), digest, 4).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST(BlobDownload, AStallEndsAsUnavailable) {
  TestServer server(
      [&](const TestRequest&) { return TestResponse{.body = kBlob, .stall_after = 100}; });
  ClientSetup setup;
  setup.stall = std::chrono::milliseconds(200);
  const Status status = Download(*MakeClient(server.host(), setup), kDigest, kBlob.size()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(Text(status), HasSubstr("no byte came for 0.2 s"));
}

TEST(BlobDownload, ASlowSinkIsNoStall) {
  TestServer server([&](const TestRequest&) { return TestResponse{.body = kBlob}; });
  ClientSetup setup;
  setup.stall = std::chrono::milliseconds(50);
  const auto registry = MakeClient(server.host(), setup);
  HttpClient client;
  int pieces = 0;
  Descriptor descriptor;
  descriptor.digest = kDigest;
  descriptor.size = kBlob.size();
  const Status status = DownloadBlob(*registry, client, descriptor, [&](std::span<const char>) {
    if (++pieces <= 3) std::this_thread::sleep_for(std::chrono::milliseconds(500));
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST(BlobDownload, AnErrorOfTheSinkIsReturnedAtOnce) {
  TestServer server([&](const TestRequest&) { return TestResponse{.body = kBlob}; });
  HttpClient client;
  Descriptor descriptor;
  descriptor.digest = kDigest;
  descriptor.size = kBlob.size();
  const Status status =
      DownloadBlob(*MakeClient(server.host()), client, descriptor,
                   [](std::span<const char>) { return absl::AbortedError("reader gone"); });
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST(Registry, TooManyRequestsIsAskedAgainAfterTheTimeThatTheServerNames) {
  int answers = 0;
  TestServer server([&](const TestRequest&) {
    if (++answers == 1) return TestResponse{.status = 429, .headers = {{"Retry-After", "1"}}};
    return TestResponse{.body = kBlob};
  });
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(Download(*MakeClient(server.host()), kDigest, kBlob.size()).ok());
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

TEST(Registry, ARateLimitThatLastsIsNamed) {
  TestServer server([&](const TestRequest&) {
    return TestResponse{.status = 429, .headers = {{"Retry-After", "7200"}}};
  });
  const Status status = Download(*MakeClient(server.host()), kDigest, kBlob.size()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Text(status), HasSubstr("retry after 7200"));
}

TEST(Registry, RedirectsToAnotherHostCarryNoCredentials) {
  TestServer cdn([&](const TestRequest&) { return TestResponse{.body = kBlob}; });
  TestServer server([&](const TestRequest& request) {
    if (Header(request, "authorization").empty()) {
      return TestResponse{.status = 401, .headers = {{"WWW-Authenticate", "Basic realm=\"r\""}}};
    }
    return TestResponse{
        .status = 307,
        .headers = {{"Location", absl::StrCat("http://", cdn.host(), "/x?sig=secret")}}};
  });
  ClientSetup setup;
  setup.credentials.username = "user";
  setup.credentials.password = "hunter2";
  EXPECT_TRUE(Download(*MakeClient(server.host(), setup), kDigest, kBlob.size()).ok());
  ASSERT_EQ(cdn.requests().size(), 1u);
  const TestRequest seen = cdn.requests()[0];
  for (const auto& [name, value] : seen.headers) {
    EXPECT_NE(name, "authorization");
    EXPECT_THAT(value, Not(HasSubstr("hunter2")));
  }
}

TEST(Registry, AChallengeOfARedirectTargetIsNotAnswered) {
  TestServer cdn([&](const TestRequest&) {
    return TestResponse{.status = 401,
                        .headers = {{"WWW-Authenticate", "Basic realm=\"give me\""}}};
  });
  TestServer server([&](const TestRequest&) {
    return TestResponse{
        .status = 302,
        .headers = {{"Location", absl::StrCat("http://", cdn.host(), "/x?sig=secret")}}};
  });
  ClientSetup setup;
  setup.credentials.username = "user";
  setup.credentials.password = "hunter2";
  const Status status = Download(*MakeClient(server.host(), setup), kDigest, kBlob.size()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(Text(status), Not(HasSubstr("secret")));
  for (const TestRequest& request : cdn.requests()) EXPECT_EQ(Header(request, "authorization"), "");
}

// A registry that wants a bearer token from a token server of its own.
struct TokenWorld {
  TokenWorld()
      : tokens([this](const TestRequest& request) { return AnswerToken(request); }),
        server([this](const TestRequest& request) { return AnswerRegistry(request); }) {}

  TestResponse AnswerToken(const TestRequest& request) const {
    const bool good =
        request.method == "POST" ? absl::StrContains(request.body, "refresh_token=identity")
        : login.empty()          ? Header(request, "authorization").empty()
                        : Header(request, "authorization") == "Basic " + absl::Base64Escape(login);
    if (!good) return {.status = 401};
    return {.body = R"({"token":"letmein","expires_in":60})"};
  }
  TestResponse AnswerRegistry(const TestRequest& request) const {
    if (Header(request, "authorization") == accepted) return {.body = kBlob};
    return {.status = 401,
            .headers = {{"WWW-Authenticate",
                         absl::StrCat("Bearer realm=\"http://", tokens.host(),
                                      "/token\",service=\"s v\",scope=\"repository:a/b:pull\"")}}};
  }

  std::string login, accepted = "Bearer letmein";
  TestServer tokens, server;
};

TEST(Registry, TokensAreFetchedForNobodyForALoginAndForAnIdentity) {
  TokenWorld world;
  EXPECT_TRUE(Download(*MakeClient(world.server.host()), kDigest, kBlob.size()).ok());
  EXPECT_EQ(world.tokens.requests()[0].query, "service=s%20v&scope=repository%3Aa%2Fb%3Apull");
  world.login = "user:pass word";
  ClientSetup setup;
  setup.credentials.auth = absl::Base64Escape("user:pass word");
  EXPECT_TRUE(Download(*MakeClient(world.server.host(), setup), kDigest, kBlob.size()).ok());
  setup.credentials = {.identity_token = "identity"};
  EXPECT_TRUE(Download(*MakeClient(world.server.host(), setup), kDigest, kBlob.size()).ok());
  EXPECT_EQ(world.tokens.requests().back().method, "POST");
  setup.credentials = {.registry_token = "letmein"};
  const size_t asked = world.tokens.requests().size();
  EXPECT_TRUE(Download(*MakeClient(world.server.host(), setup), kDigest, kBlob.size()).ok());
  EXPECT_EQ(world.tokens.requests().size(), asked) << "a registry token is used as it is";
}

TEST(Registry, WrongCredentialsAreUnauthenticatedAndStaySecret) {
  TokenWorld world;
  world.login = "user:right";
  ClientSetup setup;
  setup.credentials.username = "user";
  setup.credentials.password = "hunter2";
  const Status refused =
      Download(*MakeClient(world.server.host(), setup), kDigest, kBlob.size()).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnauthenticated) << refused;
  world.login = "user:hunter2";
  world.accepted = "something else";
  const Status useless =
      Download(*MakeClient(world.server.host(), setup), kDigest, kBlob.size()).status();
  EXPECT_EQ(useless.code(), absl::StatusCode::kUnauthenticated) << useless;
  EXPECT_THAT(Text(refused) + Text(useless), Not(HasSubstr("hunter2")));
  EXPECT_THAT(Text(refused) + Text(useless), Not(HasSubstr("letmein")));
}

TEST(Registry, CredentialsOfAnotherHostAreNotUsed) {
  TokenWorld world;
  world.login = "user:hunter2";
  ClientSetup setup;
  setup.credentials.username = "user";
  setup.credentials.password = "hunter2";
  setup.credentials.server_address = "registry.example";
  EXPECT_FALSE(Download(*MakeClient(world.server.host(), setup), kDigest, kBlob.size()).ok());
  for (const TestRequest& request : world.tokens.requests())
    EXPECT_EQ(Header(request, "authorization"), "");
}

TEST(Registry, MirrorsAreAskedFirstAndTheRegistryWhenTheyFail) {
  MemoryRegistry memory;
  TestImage image;
  image.AddLayer("not really a tar");
  memory.Add("a/b", "1", image);
  TestServer mirror([&](const TestRequest&) { return TestResponse{.status = 503}; });
  TestServer server([&](const TestRequest& request) { return memory.Answer(request); });
  ClientSetup setup;
  setup.credentials.username = "user";
  setup.credentials.password = "hunter2";
  setup.mirrors.push_back(EndpointAt(mirror.host()));
  setup.mirrors[0].query = "ns=reg.example";
  setup.mirrors[0].headers = {{"X-Mirror", "yes"}};
  const auto registry = MakeClient(server.host(), setup);
  HttpClient client;
  const auto manifest = registry->FetchManifest(client, "1", 0);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->digest, image.Manifest().digest);
  ASSERT_GE(mirror.requests().size(), 2u) << "tried again after HTTP 503";
  EXPECT_EQ(mirror.requests()[0].query, "ns=reg.example");
  EXPECT_EQ(Header(mirror.requests()[0], "x-mirror"), "yes");
  EXPECT_EQ(Header(server.requests()[0], "x-mirror"), "") << "a mirror's headers are its own";
  const size_t asked = mirror.requests().size();
  EXPECT_TRUE(registry->FetchManifest(client, "1", 0).ok());
  EXPECT_EQ(mirror.requests().size(), asked) << "a dead mirror is left out from then on";
  const Status status = MakeClient(server.host(), setup)->FetchManifest(client, "2", 0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Text(status), HasSubstr("MANIFEST_UNKNOWN: manifest unknown"));
  EXPECT_THAT(Text(status), HasSubstr(absl::StrCat("before that: http://", mirror.host())));
}

// Has the image a/b:1, and answers 503 until it is well.
class Recovering {
 public:
  Recovering() { memory_.Add("a/b", "1", TestImage()); }
  TestResponse Answer(const TestRequest& request) const {
    return well_ ? memory_.Answer(request) : TestResponse{.status = 503};
  }
  // Asks once before and once after: the second answer.
  Status SecondAnswer(const TestServer& mirror, const TestServer& server) {
    ClientSetup setup;
    setup.mirrors.push_back(EndpointAt(mirror.host()));
    const auto registry = MakeClient(server.host(), setup);
    HttpClient client;
    EXPECT_FALSE(registry->FetchManifest(client, "1", 0).ok());
    well_ = true;
    return registry->FetchManifest(client, "1", 0).status();
  }

 private:
  MemoryRegistry memory_;
  std::atomic<bool> well_ = false;
};

TEST(Registry, AMirrorWithoutACopyIsNotTheLastWordWhenTheRegistryHasFailed) {
  Recovering recovering;
  TestServer mirror([](const TestRequest&) { return TestResponse{.status = 404}; });
  TestServer server([&](const TestRequest& request) { return recovering.Answer(request); });
  const Status second = recovering.SecondAnswer(mirror, server);
  EXPECT_TRUE(second.ok()) << second << ": it has recovered, and it has the image";
}

TEST(Registry, WhereAllHaveFailedAllAreAskedAgain) {
  Recovering recovering;
  TestServer mirror([&](const TestRequest& request) { return recovering.Answer(request); });
  TestServer server([](const TestRequest&) { return TestResponse{.status = 503}; });
  const Status second = recovering.SecondAnswer(mirror, server);
  EXPECT_TRUE(second.ok()) << second;
}

TEST(Registry, AMirrorThatMayNotResolveIsAskedForDigestsOnly) {
  MemoryRegistry memory;
  TestImage image;
  memory.Add("a/b", "1", image);
  TestServer mirror([&](const TestRequest& request) { return memory.Answer(request); });
  TestServer server([&](const TestRequest& request) { return memory.Answer(request); });
  ClientSetup setup;
  setup.mirrors.push_back(EndpointAt(mirror.host()));
  setup.mirrors[0].can_resolve = false;
  const auto registry = MakeClient(server.host(), setup);
  HttpClient client;
  const auto manifest = registry->FetchManifest(client, "1", 0);
  ASSERT_TRUE(manifest.ok());
  EXPECT_TRUE(mirror.requests().empty());
  EXPECT_TRUE(registry->FetchManifest(client, manifest->digest, manifest->bytes.size()).ok());
  EXPECT_EQ(mirror.requests().size(), 1u);
}

TEST(Registry, AManifestIsWhatItsDigestAndSizeSay) {
  const std::string bytes = R"({"schemaVersion":2})";
  const std::string digest = *DigestOf(bytes);
  const std::string wrong = *DigestOf("x");
  TestServer server([&](const TestRequest& request) {
    if (absl::EndsWith(request.path, "/lying"))
      return TestResponse{.headers = {{"Docker-Content-Digest", wrong}}, .body = bytes};
    if (absl::EndsWith(request.path, "/huge"))
      return TestResponse{.body = std::string(kMaxManifestBytes + 1, ' ')};
    return TestResponse{.body = bytes};
  });
  const auto registry = MakeClient(server.host());
  HttpClient client;
  EXPECT_TRUE(registry->FetchManifest(client, digest, bytes.size()).ok());
  EXPECT_EQ(registry->FetchManifest(client, digest, bytes.size() + 1).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(registry->FetchManifest(client, wrong, 0).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(registry->FetchManifest(client, "lying", 0).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(registry->FetchManifest(client, "huge", 0).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(Registry, NobodyListeningIsUnavailable) {
  const std::string host = absl::StrCat("127.0.0.1:", FreePort());
  const Status status = Download(*MakeClient(host), kDigest, kBlob.size()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(Text(status), HasSubstr(host));
}

}  // namespace
}  // namespace gantry::images
