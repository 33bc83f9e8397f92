// Pulls with logins of the node, and what `explain` says of them: through the real
// puller, confined.
#include <sys/stat.h>

#include <cstdlib>

#define JSON_NO_IO
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"

#include "imageservice/digester.h"
#include "imageservice/platform.h"
#include "imageservice/testing_pull.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

constexpr char kManifestType[] = "application/vnd.oci.image.manifest.v1+json";

class LoginPull : public PullTest {
 protected:
  void SetUp() override {
    PullTest::SetUp();
    if (IsSkipped()) return;
    options_.auth_files = (directory_ / "auth.json").string();
    puller_ = std::make_unique<Puller>(store_.get(), options_);
    image_.AddLayer(TarArchive().File("f", "content").Finish());
    memory_.Add("team/app", "1", image_);
  }
  void TearDown() override { server_.reset(); }

  // Serves to user:hunter2 alone.
  void Serve() {
    server_ = std::make_unique<TestServer>([this](const TestRequest& request) {
      const auto shown = request.headers.find("authorization");
      if (shown == request.headers.end() ||
          shown->second != "Basic " + absl::Base64Escape("user:hunter2"))
        return TestResponse{.status = 401, .headers = {{"WWW-Authenticate", "Basic realm=\"r\""}}};
      return memory_.Answer(request);
    });
    name_ = server_->host() + "/team/app:1";
  }
  void WriteAuth(const std::string& text) const { std::ofstream(directory_ / "auth.json") << text; }
  std::string Explained(const std::string& reference, Status* outcome = nullptr) {
    PullRequest request;
    request.reference = reference;
    const auto explanation = puller_->Explain(request);
    if (!explanation.ok()) return explanation.status().ToString();
    if (outcome != nullptr) *outcome = explanation->outcome;
    std::vector<std::string> lines;
    for (const ExplainedDecision& decision : explanation->decisions)
      lines.push_back(absl::StrCat(decision.subject, ": ", decision.text));
    for (const ExplainedLayer& layer : explanation->layers)
      lines.push_back(
          absl::StrCat("layer: ", layer.digest, layer.present ? " present" : " absent"));
    return absl::StrJoin(lines, "\n");
  }

  TestImage image_;
  MemoryRegistry memory_;
  std::unique_ptr<TestServer> server_;
  std::string name_;
};

TEST_F(LoginPull, AStoredLoginIsUsedWhenTheRequestBringsNone) {
  Serve();
  EXPECT_EQ(Pull(name_).status().code(), absl::StatusCode::kUnauthenticated);
  WriteAuth(absl::StrCat(R"({"auths":{")", server_->host(), R"(/team":{"auth":")",
                         absl::Base64Escape("user:hunter2"), R"("}}})"));
  const auto pulled = Pull(name_);
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(FileIn(**pulled, 0, "f"), "content");
  PullRequest own;
  own.reference = name_;
  own.credentials = {.username = "user", .password = "wrong"};
  EXPECT_EQ(puller_->Pull(own).status().code(), absl::StatusCode::kUnauthenticated)
      << "the request's own credentials count";
}

TEST_F(LoginPull, AHelperIsRunBeforeThePullerIsConfined) {
  Serve();
  const std::filesystem::path helper = directory_ / "docker-credential-test";
  std::ofstream(helper) << "#!/bin/sh\nread server\n"
                        << "[ \"$server\" = " << server_->host() << " ] || exit 1\n"
                        << "echo '{\"Username\":\"user\",\"Secret\":\"hunter2\"}'\n";
  chmod(helper.c_str(), 0755);
  WriteAuth(absl::StrCat(R"({"credHelpers":{")", server_->host(), R"(":"test"}})"));
  const std::string path = getenv("PATH");
  setenv("PATH", absl::StrCat(directory_.string(), ":", path).c_str(), 1);
  const auto pulled = Pull(name_);
  const std::string explained = Explained(name_);
  setenv("PATH", path.c_str(), 1);
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_THAT(explained, HasSubstr("credHelpers (docker-credential-test)"));
  EXPECT_THAT(explained, Not(HasSubstr("hunter2")));
}

TEST_F(LoginPull, Row65AMalformedAuthFileIsNamed) {
  Serve();
  WriteAuth(R"({"auths":{"x":{"auth":"hunter2)");
  const Status status = Pull(name_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr((directory_ / "auth.json").string()));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("hunter2")));
  Status outcome;
  EXPECT_THAT(Explained(name_, &outcome), HasSubstr("reference: " + name_));
  EXPECT_EQ(outcome.code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(LoginPull, ExplainTellsEveryDecision) {
  Serve();
  WriteAuth(absl::StrCat(R"({"auths":{")", server_->host(), R"(":{"auth":")",
                         absl::Base64Escape("user:hunter2"), R"("}}})"));
  TestServer mirror([](const TestRequest&) { return TestResponse{.status = 404}; });
  const std::filesystem::path hosts = directory_ / "certs.d" / "reg.example";
  std::filesystem::create_directories(hosts);
  std::ofstream(hosts / "hosts.toml")
      << "server = \"http://" << server_->host() << "\"\nodd = 1\n[host.\"http://" << mirror.host()
      << "\"]\ncapabilities = [\"resolve\"]\n[host.\"http://" << mirror.host()
      << "\".header]\nX-Secret = \"hunter2\"\n";
  const std::string before = Explained("reg.example/team/app:1");
  for (const std::string& line : {
           std::string("reference: reg.example/team/app:1"),
           "hosts: " + (hosts / "hosts.toml").string(),
           std::string("the unknown key \"odd\" is ignored"),
           absl::StrCat("endpoint 1: http://", mirror.host(),
                        "/v2?ns=reg.example (mirror): resolve"),
           std::string("headers X-Secret"),
           absl::StrCat("endpoint 2: http://", server_->host(),
                        "/v2?ns=reg.example (registry): resolve and pull"),
           std::string("tls 2: none: plain http"),
           std::string("proxy 2: none"),
           std::string("login 1: nobody is logged in"),
           absl::StrCat("login 2: ", (directory_ / "auth.json").string(), ": auths["),
           absl::StrCat("platform: ", Describe(NodePlatform())),
           absl::StrCat("digest: ", image_.Manifest().digest, " from http://", server_->host()),
           std::string("policy: allows it"),
           std::string("kind: container image"),
           absl::StrCat("config: ", image_.Config().digest),
           absl::StrCat("layer: ", image_.layers()[0].digest, " absent"),
       }) {
    EXPECT_THAT(before, HasSubstr(line));
  }
  EXPECT_THAT(before, Not(HasSubstr("hunter2")));
  EXPECT_TRUE(store_->List().empty()) << "nothing was pulled";
  ASSERT_TRUE(Pull("reg.example/team/app:1").ok());
  EXPECT_THAT(Explained("reg.example/team/app:1"),
              HasSubstr(absl::StrCat("layer: ", image_.layers()[0].digest, " present")));
}

TEST_F(LoginPull, ExplainEndsWithTheErrorOfThePull) {
  Serve();
  Status outcome;
  EXPECT_THAT(Explained(name_, &outcome), HasSubstr("login 1: nobody is logged in"));
  EXPECT_EQ(outcome.code(), absl::StatusCode::kUnauthenticated) << outcome;
  PullRequest bad;
  bad.reference = "A/B";
  EXPECT_EQ(puller_->Explain(bad).status().code(), absl::StatusCode::kInvalidArgument);
  PullRequest gone;
  gone.reference = name_;
  gone.cancelled = [] { return true; };
  EXPECT_EQ(puller_->Explain(gone).status().code(), absl::StatusCode::kCancelled);
}

TEST_F(LoginPull, LayersAndConfigurationsInDescriptorsAreNotAskedFor) {
  Json manifest = Json::parse(image_.Manifest().bytes);
  manifest["config"]["data"] = absl::Base64Escape(image_.Config().bytes);
  manifest["layers"][0]["data"] = absl::Base64Escape(image_.layers()[0].bytes);
  TestImage::Blob blob{"", manifest.dump(), kManifestType};
  blob.digest = *DigestOf(blob.bytes);
  memory_.AddManifest("team/whole", "1", blob);
  server_ = std::make_unique<TestServer>(
      [this](const TestRequest& request) { return memory_.Answer(request); });
  const auto pulled = Pull(server_->host() + "/team/whole:1");
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(FileIn(**pulled, 0, "f"), "content");
  EXPECT_EQ(server_->requests().size(), 1u);
}

TEST_F(LoginPull, TheProxyOfTheEnvironmentReachesThePullerOnItsSocketAlone) {
  std::string seen;  // environments and arguments of the children while one of them asks
  TestServer proxy([&](const TestRequest& request) {
    for (const int pid : ChildPids()) {
      for (const char* file : {"environ", "cmdline"})
        seen += ReadText(absl::StrCat("/proc/", pid, "/", file));
    }
    TestRequest plain = request;
    plain.path = request.path.substr(std::string("http://reg.example:5000").size());
    return memory_.Answer(plain);
  });
  const std::filesystem::path hosts = directory_ / "certs.d" / "reg.example:5000";
  std::filesystem::create_directories(hosts);
  std::ofstream(hosts / "hosts.toml") << "server = \"http://reg.example:5000\"\n";
  const char* old = getenv("http_proxy");
  const std::string kept = old == nullptr ? "" : old;
  setenv("http_proxy", absl::StrCat("http://user:hunter2@", proxy.host()).c_str(), 1);
  const auto pulled = Pull("reg.example:5000/team/app:1");
  const std::string explained = Explained("reg.example:5000/team/app:1");
  if (old == nullptr) {
    unsetenv("http_proxy");
  } else {
    setenv("http_proxy", kept.c_str(), 1);
  }
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_GE(proxy.requests().size(), 3u);
  EXPECT_THAT(seen, HasSubstr("gantry-puller"));
  EXPECT_THAT(seen, Not(HasSubstr("hunter2")));
  EXPECT_THAT(explained, HasSubstr("proxy 1: http://" + proxy.host()));
  EXPECT_THAT(explained, Not(HasSubstr("hunter2")));
}

}  // namespace
}  // namespace gantry::images
