#include "imageservice/registry_hosts.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;

// A directory of its own for each test, removed at the end.
class RegistryHosts : public ::testing::Test {
 protected:
  RegistryHosts() {
    std::string pattern = (std::filesystem::temp_directory_path() / "gantry-hosts-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
  }
  ~RegistryHosts() override { std::filesystem::remove_all(directory_); }
  void Write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((directory_ / name).parent_path());
    std::ofstream(directory_ / name) << text;
  }
  StatusOr<std::vector<RegistryEndpoint>> Find(const std::string& registry) {
    return FindEndpoints(registry, directory_.string());
  }
  std::filesystem::path directory_;
};

TEST_F(RegistryHosts, WithoutAFileTheRegistryItselfIsAsked) {
  const struct {
    std::string registry, url;
  } rows[] = {
      {"docker.io", "https://registry-1.docker.io/v2"},
      {"quay.io", "https://quay.io/v2"},
      {"localhost:5000", "http://localhost:5000/v2"},
      {"127.0.0.1:5000", "http://127.0.0.1:5000/v2"},
      {"[::1]:5000", "http://[::1]:5000/v2"},
      {"127.example.com", "https://127.example.com/v2"},
      {"registry.example:8443", "https://registry.example:8443/v2"},
  };
  for (const auto& row : rows) {
    const auto endpoints = Find(row.registry);
    ASSERT_TRUE(endpoints.ok()) << endpoints.status();
    ASSERT_EQ(endpoints->size(), 1u);
    EXPECT_EQ(endpoints->front().base.ToString(), row.url);
    EXPECT_TRUE(endpoints->front().upstream);
    EXPECT_EQ(endpoints->front().query, "");
  }
}

TEST_F(RegistryHosts, MirrorsComeInTheOrderOfTheFileThenTheServer) {
  Write("docker.io/ca.pem", "CA");
  Write("docker.io/c.pem", "CERT");
  Write("docker.io/k.pem", "KEY");
  Write("docker.io/hosts.toml", R"(
server = "https://registry-1.docker.io"
[host."https://zz.example"]
  capabilities = ["pull"]
  ca = "ca.pem"
  client = [["c.pem", "k.pem"]]
  dial_timeout = "2s"
  [host."https://zz.example".header]
    x-one = "1"
    x-two = ["2", "3"]
[host."http://aa.example:5000/some/prefix"]
  capabilities = ["pull", "resolve", "push"]
  override_path = true
  skip_verify = true
)");
  const auto endpoints = Find("docker.io");
  ASSERT_TRUE(endpoints.ok()) << endpoints.status();
  ASSERT_EQ(endpoints->size(), 3u);
  const RegistryEndpoint& first = (*endpoints)[0];
  EXPECT_EQ(first.base.ToString(), "https://zz.example/v2");
  EXPECT_FALSE(first.can_resolve);
  EXPECT_TRUE(first.can_pull);
  EXPECT_EQ(first.query, "ns=docker.io");
  EXPECT_EQ(first.tls.extra_ca, "CA\n");
  EXPECT_EQ(first.tls.client_cert, "CERT");
  EXPECT_EQ(first.tls.client_key, "KEY");
  EXPECT_EQ(first.dial_timeout, std::chrono::seconds(2));
  EXPECT_EQ(first.headers.size(), 3u);
  EXPECT_EQ((*endpoints)[1].base.ToString(), "http://aa.example:5000/some/prefix");
  EXPECT_TRUE((*endpoints)[1].tls.skip_verify);
  EXPECT_TRUE((*endpoints)[2].upstream);
  EXPECT_EQ((*endpoints)[2].query, "");
  EXPECT_EQ((*endpoints)[2].base.ToString(), "https://registry-1.docker.io/v2");
}

TEST_F(RegistryHosts, AServerInPlaceOfTheRegistryIsTheOnlyOne) {
  Write("_default/hosts.toml", "server = \"mirror.example/proxy\"\n");
  const auto endpoints = Find("quay.io");
  ASSERT_TRUE(endpoints.ok()) << endpoints.status();
  ASSERT_EQ(endpoints->size(), 1u);
  EXPECT_EQ(endpoints->front().base.ToString(), "https://mirror.example/proxy/v2");
  EXPECT_EQ(endpoints->front().query, "ns=quay.io");
  EXPECT_TRUE(endpoints->front().upstream);
}

TEST_F(RegistryHosts, TheDirectoryOfAPortIsFoundInBothSpellings) {
  Write("reg.example_5000_/hosts.toml", "server = \"https://one.example\"\n");
  Write("reg.example:6000/hosts.toml", "server = \"https://two.example\"\n");
  EXPECT_EQ(Find("reg.example:5000")->front().base.host, "one.example");
  EXPECT_EQ(Find("reg.example:6000")->front().base.host, "two.example");
  EXPECT_EQ(Find("reg.example:7000")->front().base.host, "reg.example");
}

TEST_F(RegistryHosts, DockersCertificateFilesAreRead) {
  Write("reg.example/ca.crt", "CA");
  Write("reg.example/client.cert", "CERT");
  Write("reg.example/client.key", "KEY");
  const auto endpoints = Find("reg.example");
  ASSERT_TRUE(endpoints.ok()) << endpoints.status();
  EXPECT_EQ(endpoints->front().tls.extra_ca, "CA\n");
  EXPECT_EQ(endpoints->front().tls.client_key, "KEY");
}

TEST_F(RegistryHosts, MistakesNameTheFileAndTheReason) {
  const struct {
    std::string text, reason;
  } rows[] = {
      {"server = ", "hosts.toml:1"},
      {"\n[host.\"https://a\"\n", "hosts.toml:2"},
      {"server = 5", "server must be a string"},
      {"skip_verify = \"yes\"", "skip_verify must be true or false"},
      {"[host.\"https://a\"]\ncapabilities = [\"fly\"]", "unknown name \"fly\""},
      {"[host.\"ftp://a\"]", "host \"ftp://a\""},
      {"[host.\"https://u:p@a\"]", "user name is refused"},
      {"[host.\"https://a\"]\nca = \"missing.pem\"", "missing.pem"},
      {"[host.\"https://a\"]\ndial_timeout = \"soon\"", "dial_timeout"},
      {"[host.\"https://a\".header]\nx = \"a\\nb\"", "line break"},
  };
  for (const auto& row : rows) {
    Write("a.example/hosts.toml", row.text);
    const auto endpoints = Find("a.example");
    ASSERT_FALSE(endpoints.ok()) << row.text;
    EXPECT_EQ(endpoints.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(endpoints.status().message()), HasSubstr(row.reason));
    EXPECT_THAT(std::string(endpoints.status().message()), HasSubstr("a.example"));
  }
}

TEST(Url, OriginsRedirectsAndShownForms) {
  const Url base = *ParseUrl("https://Reg.Example/v2/a?token=secret");
  EXPECT_EQ(base.Origin(), "https://reg.example:443");
  EXPECT_EQ(base.HostPort(), "reg.example");
  EXPECT_EQ(base.Shown(), "https://reg.example/v2/a");
  EXPECT_EQ(ResolveUrl(base, "/other?x=1")->ToString(), "https://reg.example/other?x=1");
  EXPECT_EQ(ResolveUrl(base, "http://cdn.example:81/b")->Origin(), "http://cdn.example:81");
  EXPECT_FALSE(ResolveUrl(base, "file:///etc/passwd").ok());
  EXPECT_FALSE(ResolveUrl(base, "https://user@cdn.example/").ok());
  EXPECT_FALSE(ParseUrl("").ok());
  EXPECT_EQ(PercentEncode("a b/c:d@é"), "a%20b%2Fc%3Ad%40%C3%A9");
}

}  // namespace
}  // namespace gantry::images
