// Logins while a pull runs: tokens that run out or do not suffice, links that expire, redirects,
// and what is said when a registry does not let us in.
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

// A registry whose tokens are numbered, and a token server that gives the next one to everybody who
// has the right login.
struct TokenRegistry {
  TokenRegistry()
      : tokens([this](const TestRequest& request) { return GiveToken(request); }),
        server([this](const TestRequest& request) { return Serve(request); }) {
    memory.AddBlob(kDigest, kBlob);
  }
  TestResponse GiveToken(const TestRequest& request) {
    if (!token_server_says.headers.empty()) return token_server_says;
    if (!login.empty() && Header(request, "authorization") != "Basic " + absl::Base64Escape(login))
      return {.status = 401};
    return {.body = absl::StrCat(R"({"access_token":"t)", ++given, R"(","expires_in":60})")};
  }
  TestResponse Serve(const TestRequest& request) {
    const std::string shown = Header(request, "authorization");
    if (valid == 0 || shown != absl::StrCat("Bearer t", valid)) return Refusal();
    TestResponse response = memory.Answer(request);
    if (cuts-- > 0) {
      response.cut_after = 1'200'000;
      valid += expires_when_cut ? 1 : 0;
    }
    return response;
  }
  TestResponse Refusal() const {
    return {
        .status = refusal_status,
        .headers = {{"WWW-Authenticate",
                     absl::StrCat("Bearer realm=\"http://", tokens.host(),
                                  "/token\",service=\"s\",scope=\"repository:a/b:pull\"",
                                  error.empty() ? "" : absl::StrCat(",error=\"", error, "\""))}},
        .body = R"({"errors":[{"code":"DENIED","message":"requested access is denied"}]})"};
  }
  Status Fetch(const ClientSetup& setup = {}) const {
    const auto bytes = Download(*MakeClient(server.host(), setup), kDigest, kBlob.size());
    if (bytes.ok() && *bytes != kBlob) return absl::DataLossError("wrong bytes");
    return bytes.status();
  }

  MemoryRegistry memory;
  std::string login, error;
  int refusal_status = 401;
  int given = 0, valid = 1, cuts = 0;
  bool expires_when_cut = false;
  TestResponse token_server_says{};
  TestServer tokens, server;
};

TEST(Tokens, Row64ATokenThatExpiresInMidBlobIsRenewedOnceAndTheBlobGoesOn) {
  TokenRegistry world;
  world.cuts = 1;
  world.expires_when_cut = true;
  const Status status = world.Fetch();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(world.given, 2);
  const auto requests = world.server.requests();
  ASSERT_EQ(requests.size(), 4u);
  EXPECT_EQ(Header(requests[2], "authorization"), "Bearer t1");
  EXPECT_EQ(Header(requests[3], "authorization"), "Bearer t2");
  EXPECT_EQ(Header(requests[3], "range"), "bytes=1200000-");
}

TEST(Tokens, Row64ARefusedTokenIsReplacedOnceUnlessTheRegistrySaysItDoesNotSuffice) {
  TokenRegistry world;
  world.valid = 0;
  EXPECT_EQ(world.Fetch().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(world.given, 1);
  for (const int status : {401, 403}) {
    TokenRegistry narrow;
    narrow.valid = 2;
    narrow.error = "insufficient_scope";
    narrow.refusal_status = status;
    EXPECT_TRUE(narrow.Fetch().ok()) << "the second token covers it";
    narrow.valid = 100;
    narrow.given = 0;
    const Status never = narrow.Fetch();
    EXPECT_EQ(never.code(), status == 401 ? absl::StatusCode::kUnauthenticated
                                          : absl::StatusCode::kPermissionDenied);
    EXPECT_EQ(narrow.given, 2) << "asked for twice, not for ever";
  }
}

TEST(Tokens, ARegistryTokenIsSentAsItIsAndNotAgainWhenItIsRefused) {
  TokenRegistry world;
  world.valid = 7;
  EXPECT_TRUE(world.Fetch({.credentials = {.registry_token = "t7"}}).ok());
  world.error = "invalid_token";
  const size_t before = world.server.requests().size();
  const Status status = world.Fetch({.credentials = {.registry_token = "hunter2"}});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_THAT(Text(status), HasSubstr("the credentials of the request"));
  EXPECT_THAT(Text(status), Not(HasSubstr("hunter2")));
  EXPECT_EQ(world.server.requests().size(), before + 2);
  EXPECT_EQ(world.given, 0);
}

TEST(Tokens, Row64RedirectsOfATokenServerAreNotFollowed) {
  TestServer thief([](const TestRequest&) { return TestResponse{.body = R"({"token":"t1"})"}; });
  TokenRegistry world;
  world.login = "user:hunter2";
  world.token_server_says = {.status = 307,
                             .headers = {{"Location", absl::StrCat("http://", thief.host(), "/")}}};
  const Status status = world.Fetch({.credentials = {.username = "user", .password = "hunter2"}});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << status;
  EXPECT_TRUE(thief.requests().empty());
}

TEST(Tokens, AnAnswerOfATokenServerIsNotQuoted) {
  TokenRegistry world;
  for (const std::string body : {R"({"token":"hunter2)", R"({"token":["hunter2"]})", "hunter2"}) {
    world.token_server_says = {.headers = {{"X", "y"}}, .body = body};
    const Status status = world.Fetch();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
    EXPECT_THAT(Text(status), Not(HasSubstr("hunter2"))) << body;
  }
}

TEST(Tokens, Row64WhoWasNotLetInIsSaid) {
  TokenRegistry world;
  world.valid = 0;
  EXPECT_THAT(Text(world.Fetch()),
              HasSubstr("it does not exist, or is not for us (nobody is logged in)"));
  world.login = "user:p";
  const ClientSetup known{.credentials = {.username = "user", .password = "p"}};
  EXPECT_THAT(Text(world.Fetch(known)), HasSubstr("(the credentials of the request)"));
  EXPECT_THAT(Text(world.Fetch(known)), HasSubstr("DENIED: requested access is denied"));
  // Registries hide what a stranger may not see.
  for (const int status : {403, 404}) {
    TestServer server([&](const TestRequest&) { return TestResponse{.status = status}; });
    HttpClient client;
    const Status hidden = MakeClient(server.host())->FetchManifest(client, "1", 0).status();
    EXPECT_EQ(hidden.code(),
              status == 404 ? absl::StatusCode::kNotFound : absl::StatusCode::kPermissionDenied);
    EXPECT_THAT(Text(hidden), HasSubstr("it is not there, or not for us: nobody is logged in"));
  }
}

TEST(Tokens, StoredLoginsAreForTheirEndpointAlone) {
  TokenRegistry world;
  world.login = "stored:p";
  TestServer mirror([&](const TestRequest&) { return world.Refusal(); });
  Reference reference = *ParseReference(absl::StrCat(world.server.host(), "/a/b:1"));
  std::vector<RegistryEndpoint> endpoints = {EndpointAt(mirror.host()),
                                             EndpointAt(world.server.host())};
  endpoints[1].upstream = true;
  auto auth = *RegistryAuth::Make({}, reference.registry, reference.repository);
  ASSERT_TRUE(
      auth->UseStored(endpoints[1], {.username = "stored", .password = "p"}, "FILE: entry").ok());
  EXPECT_EQ(auth->Who(endpoints[0]), "nobody is logged in");
  EXPECT_EQ(auth->Who(endpoints[1]), "FILE: entry");
  const RegistryClient registry(endpoints, std::move(reference), std::move(auth), {});
  EXPECT_TRUE(Download(registry, kDigest, kBlob.size()).ok());
  for (const TestRequest& request : mirror.requests())
    EXPECT_THAT(Header(request, "authorization"), Not(HasSubstr("Basic")));
  EXPECT_EQ(Header(world.tokens.requests().front(), "authorization"), "")
      << "the mirror's challenge is answered as nobody";
}

// A registry that sends blobs elsewhere by links that can expire.
class SignedLinks : public ::testing::Test {
 protected:
  TestResponse Redirect(const TestRequest&) {
    return {
        .status = 307,
        .headers = {{"Location", absl::StrCat("http://", storage_.host(), "/x?sig=", ++link_)}}};
  }
  TestResponse Store(const TestRequest& request) {
    if (request.query != absl::StrCat("sig=", valid_)) return {.status = expired_status_};
    TestResponse response =
        memory_.Answer({.path = "/v2/a/b/blobs/" + kDigest, .headers = request.headers});
    if (cuts_-- > 0) {
      response.cut_after = 1'500'000;
      ++valid_;
    }
    return response;
  }
  MemoryRegistry memory_;
  int link_ = 0, valid_ = 1, cuts_ = 0, expired_status_ = 403;
  TestServer storage_{[this](const TestRequest& request) { return Store(request); }};
  TestServer server_{[this](const TestRequest& request) { return Redirect(request); }};
};

TEST_F(SignedLinks, Row64AnExpiredLinkIsAskedForAgainAtTheRegistry) {
  memory_.AddBlob(kDigest, kBlob);
  for (const int status : {400, 401, 403}) {
    expired_status_ = status;
    link_ = 0;
    valid_ = 2;
    const auto bytes = Download(*MakeClient(server_.host()), kDigest, kBlob.size());
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_EQ(*bytes, kBlob);
    EXPECT_EQ(link_, 2) << "HTTP " << status;
  }
}

TEST_F(SignedLinks, Row64AfterACutTheRegistryIsAskedForANewLinkAndTheBlobGoesOn) {
  memory_.AddBlob(kDigest, kBlob);
  cuts_ = 1;
  const auto bytes = Download(*MakeClient(server_.host()), kDigest, kBlob.size());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, kBlob);
  EXPECT_EQ(Header(storage_.requests().back(), "range"), "bytes=1500000-");
  EXPECT_EQ(storage_.requests().back().query, "sig=2");
}

TEST_F(SignedLinks, Row64ALinkThatNeverWorksEndsAndIsNotShown) {
  valid_ = 1000;
  const Status status = Download(*MakeClient(server_.host()), kDigest, kBlob.size()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Text(status), HasSubstr(absl::StrCat("redirected to http://", storage_.host())));
  EXPECT_THAT(Text(status), Not(HasSubstr("sig=")));
  EXPECT_LE(link_, 8);
}

TEST(Redirects, Row64LoopsOverHostsEnd) {
  std::string other;
  TestServer first([&](const TestRequest&) {
    return TestResponse{.status = 302,
                        .headers = {{"Location", absl::StrCat("http://", other, "/loop")}}};
  });
  TestServer second([&](const TestRequest&) {
    return TestResponse{.status = 302,
                        .headers = {{"Location", absl::StrCat("http://", first.host(), "/loop")}}};
  });
  other = second.host();
  const Status status = Download(*MakeClient(first.host()), kDigest, kBlob.size()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Text(status), HasSubstr("5 redirects"));
}

// containerd sent the registry's credentials to the host of a foreign layer that asked for them.
TEST(Redirects, CVE_2020_15157_CredentialsStayWithTheRegistryWhateverAnotherHostAsks) {
  TestServer thief([&](const TestRequest& request) {
    if (absl::StartsWith(request.path, "/token")) return TestResponse{.body = R"({"token":"t"})"};
    return TestResponse{
        .status = 401,
        .headers = {{"WWW-Authenticate", "Basic realm=\"r\""},
                    {"WWW-Authenticate", "Bearer realm=\"http://127.0.0.1:1/token\""}}};
  });
  TestServer server([&](const TestRequest& request) {
    if (Header(request, "authorization").empty())
      return TestResponse{.status = 401, .headers = {{"WWW-Authenticate", "Basic realm=\"r\""}}};
    return TestResponse{.status = 307,
                        .headers = {{"Location", absl::StrCat("http://", thief.host(), "/blob")}}};
  });
  ClientSetup setup{.credentials = {.username = "user", .password = "hunter2"}};
  setup.mirrors.push_back(EndpointAt(thief.host()));
  EXPECT_FALSE(Download(*MakeClient(server.host(), setup), kDigest, kBlob.size()).ok());
  ASSERT_FALSE(thief.requests().empty());
  for (const TestRequest& request : thief.requests()) {
    EXPECT_EQ(Header(request, "authorization"), "");
    EXPECT_EQ(Header(request, "cookie"), "");
  }
}

}  // namespace
}  // namespace gantry::images
