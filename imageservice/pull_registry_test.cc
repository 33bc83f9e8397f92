// Pulls from Debian's docker-registry on loopback, in the clear and over TLS with a login.
#include <crypt.h>

#include "gmock/gmock.h"

#include "imageservice/testing_pull.h"

namespace gantry::images {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kOpenssl[] = "/usr/bin/openssl";

class RealRegistry : public PullTest {
 protected:
  void Start(const std::string& http = "", const std::string& top = "") {
    auto registry = DockerRegistry::Start(data_.string(), http, top);
    if (absl::IsUnimplemented(registry.status())) GTEST_SKIP() << registry.status().message();
    ASSERT_TRUE(registry.ok()) << registry.status();
    registry_ = *std::move(registry);
  }
  void SetUp() override {
    PullTest::SetUp();
    if (IsSkipped()) return;
    data_ = directory_ / "registry";
    std::filesystem::create_directories(data_);
  }
  void TearDown() override { registry_.reset(); }

  // A certificate for 127.0.0.1 that signs itself.
  void MakeCertificate() {
    if (access(kOpenssl, X_OK) != 0) GTEST_SKIP() << "openssl is not installed";
    auto openssl = ChildProcess::Start(
        kOpenssl,
        {"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
         data_ / "key.pem", "-out", data_ / "cert.pem"},
        {});
    ASSERT_TRUE(openssl.ok()) << openssl.status();
    ASSERT_EQ(openssl->End(std::chrono::seconds(60)), "exit status 0");
  }
  void WriteHosts(const std::string& text) {
    std::filesystem::create_directories(directory_ / "certs.d" / "reg.example");
    std::ofstream(directory_ / "certs.d" / "reg.example" / "hosts.toml")
        << "server = \"https://" << registry_->host() << "\"\n"
        << text << "\n";
  }
  StatusOr<std::shared_ptr<const Image>> PullAs(const std::string& user,
                                                const std::string& password) {
    PullRequest request;
    request.reference = "reg.example/team/app:1";
    request.credentials.username = user;
    request.credentials.password = password;
    return puller_->Pull(request);
  }

  std::filesystem::path data_;
  std::unique_ptr<DockerRegistry> registry_;
};

TEST_F(RealRegistry, ServesImagesByTagDigestAndIndex) {
  Start();
  if (IsSkipped() || HasFatalFailure()) return;
  TestImage image;
  image.AddLayer(TarWithFile("big", 20'000'000))
      .AddLayer(TarArchive().File("z", "zstd").Finish(), TestCompression::kZstd)
      .AddLayer(TarArchive().File("p", "plain").Finish(), TestCompression::kNone);
  Status pushed = registry_->Push("team/app", "1", image);
  ASSERT_TRUE(pushed.ok()) << pushed;
  const std::string name = registry_->host() + "/team/app";
  const auto pulled = Pull(name + ":1");
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ((*pulled)->id, image.Config().digest);
  EXPECT_THAT((*pulled)->repo_digests, ElementsAre(name + "@" + image.Manifest().digest));
  EXPECT_EQ(FileIn(**pulled, 0, "big").size(), 20'000'000u);
  EXPECT_EQ(FileIn(**pulled, 1, "z"), "zstd");
  ASSERT_TRUE(store_->Remove(name + ":1").ok());
  store_->FlushDeletions();
  EXPECT_TRUE(store_->List().empty());

  const TestImage::Blob index =
      TestIndex({{"amd64", image.Manifest()}, {"arm64", image.Manifest()}});
  pushed = registry_->PushManifest("team/app", "multi", index);
  ASSERT_TRUE(pushed.ok()) << pushed;
  const auto again = Pull(name + ":multi@" + index.digest);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_THAT((*again)->repo_digests, ElementsAre(name + "@" + index.digest));
  EXPECT_EQ(Pull(name + ":none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Pull(registry_->host() + "/other/app:1").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(RealRegistry, OverTlsTheCertificateAndTheLoginMustBeRight) {
  TestImage image;
  image.AddLayer(TarWithFile("f", 2'000'000));
  Start();
  if (IsSkipped() || HasFatalFailure()) return;
  const Status pushed = registry_->Push("team/app", "1", image);
  ASSERT_TRUE(pushed.ok()) << pushed;
  registry_.reset();
  MakeCertificate();
  if (IsSkipped() || HasFatalFailure()) return;
  std::ofstream(data_ / "htpasswd")
      << "user:" << crypt("right", crypt_gensalt("$2y$", 5, nullptr, 0)) << "\n";
  Start(absl::StrCat("tls: {certificate: ", (data_ / "cert.pem").string(),
                     ", key: ", (data_ / "key.pem").string(), "}"),
        absl::StrCat("auth: {htpasswd: {realm: r, path: ", (data_ / "htpasswd").string(), "}}"));
  if (HasFatalFailure()) return;

  WriteHosts("");
  const Status unknown = PullAs("user", "right").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kUnavailable) << unknown;
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("certificate"));
  WriteHosts(absl::StrCat("ca = \"", (data_ / "cert.pem").string(), "\""));
  EXPECT_EQ(PullAs("", "").status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(PullAs("user", "wrong").status().code(), absl::StatusCode::kUnauthenticated);
  const auto pulled = PullAs("user", "right");
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(FileIn(**pulled, 0, "f").size(), 2'000'000u);
  WriteHosts("skip_verify = true");
  EXPECT_TRUE(PullAs("user", "right").ok());
}

}  // namespace
}  // namespace gantry::images
