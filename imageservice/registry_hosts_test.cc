#include "imageservice/registry_hosts.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "imageservice/testing_certificates.h"

namespace gantry::images {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// A directory of its own for each test, removed at the end.
class HostsFiles : public ::testing::Test {
 protected:
  HostsFiles() {
    std::string pattern = (std::filesystem::temp_directory_path() / "gantry-hosts-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
  }
  ~HostsFiles() override { std::filesystem::remove_all(directory_); }
  void Write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((directory_ / name).parent_path());
    std::ofstream(directory_ / name) << text;
  }
  void WritePair(const std::string& certificate, const std::string& key) {
    Write(certificate, pair_.certificate);
    Write(key, pair_.key);
  }
  StatusOr<std::vector<RegistryEndpoint>> Find(const std::string& registry) {
    ASSIGN_OR_RETURN(RegistryHosts hosts, FindHosts(registry, directory_.string()));
    return std::move(hosts.endpoints);
  }
  std::filesystem::path directory_;
  const TestAuthority authority_{};
  const TestCertificate pair_ = authority_.Sign("DNS:client");
};

TEST_F(HostsFiles, WithoutAFileTheRegistryItselfIsAsked) {
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

TEST_F(HostsFiles, MirrorsComeInTheOrderOfTheFileThenTheServer) {
  Write("docker.io/ca.pem", authority_.certificate());
  WritePair("docker.io/c.pem", "docker.io/k.pem");
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
  EXPECT_EQ(first.tls.extra_ca, authority_.certificate() + "\n");
  EXPECT_EQ(first.tls.client_cert, pair_.certificate);
  EXPECT_EQ(first.tls.client_key, pair_.key);
  EXPECT_EQ(first.tls_files.size(), 3u);
  EXPECT_EQ(first.dial_timeout, std::chrono::seconds(2));
  EXPECT_EQ(first.headers.size(), 3u);
  EXPECT_EQ((*endpoints)[1].base.ToString(), "http://aa.example:5000/some/prefix");
  EXPECT_TRUE((*endpoints)[1].tls.skip_verify);
  EXPECT_TRUE((*endpoints)[2].upstream);
  EXPECT_EQ((*endpoints)[2].query, "");
  EXPECT_EQ((*endpoints)[2].base.ToString(), "https://registry-1.docker.io/v2");
}

TEST_F(HostsFiles, TheRegistryAmongItsOwnMirrorsIsTheRegistry) {
  const struct {
    std::string registry, server, host;
    bool upstream;
  } rows[] = {
      {"harbor.example", "https://harbor.example", "https://harbor.example", true},
      {"harbor.example", "", "https://harbor.example", true},
      {"docker.io", "https://docker.io", "https://registry-1.docker.io", true},
      {"quay.io", "https://proxy.example/quay", "https://proxy.example/quay", true},
      {"harbor.example", "https://harbor.example", "https://mirror.example", false},
      {"harbor.example", "https://harbor.example", "https://harbor.example:8443", false},
  };
  for (const auto& row : rows) {
    const std::string server = row.server.empty() ? "" : "server = \"" + row.server + "\"\n";
    Write(row.registry + "/hosts.toml", server + "[host.\"" + row.host + "\"]\n");
    const auto endpoints = Find(row.registry);
    ASSERT_TRUE(endpoints.ok()) << endpoints.status();
    ASSERT_EQ(endpoints->size(), 2u);
    EXPECT_EQ((*endpoints)[0].upstream, row.upstream) << row.host;
    EXPECT_TRUE((*endpoints)[1].upstream);
  }
}

TEST_F(HostsFiles, AServerInPlaceOfTheRegistryIsTheOnlyOne) {
  Write("_default/hosts.toml", "server = \"mirror.example/proxy\"\n");
  const auto endpoints = Find("quay.io");
  ASSERT_TRUE(endpoints.ok()) << endpoints.status();
  ASSERT_EQ(endpoints->size(), 1u);
  EXPECT_EQ(endpoints->front().base.ToString(), "https://mirror.example/proxy/v2");
  EXPECT_EQ(endpoints->front().query, "ns=quay.io");
  EXPECT_TRUE(endpoints->front().upstream);
}

TEST_F(HostsFiles, TheDirectoryOfAPortIsFoundInBothSpellings) {
  Write("reg.example_5000_/hosts.toml", "server = \"https://one.example\"\n");
  Write("reg.example:6000/hosts.toml", "server = \"https://two.example\"\n");
  EXPECT_EQ(Find("reg.example:5000")->front().base.host, "one.example");
  EXPECT_EQ(Find("reg.example:6000")->front().base.host, "two.example");
  EXPECT_EQ(Find("reg.example:7000")->front().base.host, "reg.example");
}

TEST_F(HostsFiles, DockersCertificateFilesAreReadWithoutAHostsToml) {
  Write("reg.example/ca.crt", authority_.certificate());
  WritePair("reg.example/client.cert", "reg.example/client.key");
  const auto hosts = FindHosts("reg.example", directory_.string());
  ASSERT_TRUE(hosts.ok()) << hosts.status();
  EXPECT_EQ(hosts->source, (directory_ / "reg.example").string());
  EXPECT_EQ(hosts->endpoints[0].tls.extra_ca, authority_.certificate() + "\n");
  EXPECT_EQ(hosts->endpoints[0].tls.client_key, pair_.key);
  Write("reg.example/hosts.toml", "");
  EXPECT_EQ(Find("reg.example")->front().tls.client_key, pair_.key) << "an empty file is none";
  std::filesystem::remove(directory_ / "reg.example/client.key");
  EXPECT_THAT(std::string(Find("reg.example").status().message()), HasSubstr("client.key"));
}

TEST_F(HostsFiles, TheFirstOfSeveralFoldersThatKnowsTheHostDecides) {
  Write("one/a.example/hosts.toml", "server = \"https://one.example\"");
  Write("two/a.example/hosts.toml", "server = \"https://two.example\"");
  Write("two/b.example/hosts.toml", "server = \"https://three.example\"");
  const std::string path = (directory_ / "missing").string() + ":" + (directory_ / "one").string() +
                           ":" + (directory_ / "two").string();
  EXPECT_EQ(FindHosts("a.example", path)->endpoints[0].base.host, "one.example");
  EXPECT_EQ(FindHosts("b.example", path)->endpoints[0].base.host, "three.example");
  EXPECT_EQ(FindHosts("c.example", path)->endpoints[0].base.host, "c.example");
  EXPECT_EQ(FindHosts("c.example", path)->source, "");
}

TEST_F(HostsFiles, Ipv6HostsHaveFoldersOfTheirOwn) {
  Write("[fd00::1]_5000_/hosts.toml", "server = \"http://[fd00::2]:5000\"");
  Write("[fd00::3]/hosts.toml", "server = \"[fd00::4]\"");
  EXPECT_EQ(Find("[fd00::1]:5000")->front().base.ToString(), "http://[fd00::2]:5000/v2");
  EXPECT_EQ(Find("[fd00::3]")->front().base.ToString(), "https://[fd00::4]/v2");
  EXPECT_EQ(Find("[fd00::5]:5000")->front().base.ToString(), "https://[fd00::5]:5000/v2");
}

TEST_F(HostsFiles, EveryFormOfCaAndClientIsRead) {
  Write("a.example/ca.pem", authority_.certificate());
  Write("a.example/other.pem", TestAuthority().certificate());
  Write("a.example/both.pem", pair_.certificate + pair_.key);
  WritePair("a.example/c.pem", "a.example/k.pem");
  const std::string absolute = (directory_ / "a.example/both.pem").string();
  for (const std::string& client :
       {std::string("\"both.pem\""), "\"" + absolute + "\"", std::string("[\"both.pem\"]"),
        std::string("[[\"c.pem\", \"k.pem\"]]"), std::string("[[\"both.pem\", \"\"]]"),
        std::string("[[\"c.pem\", \"k.pem\"], \"both.pem\"]")}) {
    Write("a.example/hosts.toml", "ca = [\"ca.pem\", \"other.pem\"]\nclient = " + client);
    const auto endpoints = Find("a.example");
    ASSERT_TRUE(endpoints.ok()) << client << endpoints.status();
    EXPECT_THAT(endpoints->front().tls.client_cert, HasSubstr(pair_.certificate)) << client;
    EXPECT_THAT(endpoints->front().tls.client_key, HasSubstr(pair_.key)) << client;
  }
}

TEST_F(HostsFiles, CapabilitiesAreReadAsContainerdReadsThem) {
  const struct {
    std::string list;
    bool resolve, pull;
  } rows[] = {{"[]", true, true},
              {"[\"Pull\"]", false, true},
              {"[\"resolve\", \"push\"]", true, false},
              {"[\"push\", \"referrers\"]", false, false}};
  for (const auto& row : rows) {
    Write("a.example/hosts.toml", "[host.\"https://m\"]\ncapabilities = " + row.list);
    const auto endpoints = Find("a.example");
    ASSERT_TRUE(endpoints.ok()) << endpoints.status();
    EXPECT_EQ(endpoints->front().can_resolve, row.resolve) << row.list;
    EXPECT_EQ(endpoints->front().can_pull, row.pull) << row.list;
    EXPECT_TRUE(endpoints->back().can_resolve && endpoints->back().can_pull) << "the server itself";
  }
}

TEST_F(HostsFiles, UnknownKeysAreIgnoredAndNoted) {
  Write("a.example/hosts.toml",
        "serverr = \"x\"\n[host.\"https://m\"]\nskip_verfy = true\ncapabilities = [\"pull\"]\n");
  const auto hosts = FindHosts("a.example", directory_.string());
  ASSERT_TRUE(hosts.ok()) << hosts.status();
  EXPECT_EQ(hosts->endpoints.size(), 2u);
  EXPECT_FALSE(hosts->endpoints[0].tls.skip_verify);
  EXPECT_THAT(hosts->notes,
              ElementsAre(HasSubstr("host \"https://m\": the unknown key \"skip_verfy\""),
                          HasSubstr("the unknown key \"serverr\" is ignored")));
}

TEST_F(HostsFiles, Row65MalformedCertificatesNameTheirFileAndShowNothingOfIt) {
  Write("a.example/ca.pem", authority_.certificate());
  Write("a.example/text.pem", "hunter2");
  Write("a.example/locked.pem", EncryptedKey(pair_));
  WritePair("a.example/c.pem", "a.example/k.pem");
  Write("a.example/foreign.pem", authority_.Sign("DNS:other").key);
  const struct {
    std::string text, reason;
  } rows[] = {
      {"ca = \"text.pem\"", "text.pem: it holds no PEM certificate"},
      {"client = [[\"text.pem\", \"k.pem\"]]", "text.pem: it holds no PEM certificate"},
      {"client = [[\"c.pem\", \"text.pem\"]]", "text.pem: it holds no private key"},
      {"client = [[\"c.pem\", \"locked.pem\"]]", "encrypted"},
      {"client = [[\"c.pem\", \"foreign.pem\"]]", "does not belong to the certificate"},
      {"client = \"c.pem\"", "c.pem: it holds no private key"},
      {"client = [[\"c.pem\"]]", "pairs of certificate and key"},
  };
  for (const auto& row : rows) {
    Write("a.example/hosts.toml", row.text);
    const Status status = Find("a.example").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << row.text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.reason));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("hunter2")));
  }
}

TEST_F(HostsFiles, Row65MistakesNameTheFileAndTheReason) {
  const struct {
    std::string text, reason;
  } rows[] = {
      {"server = ", "hosts.toml:1"},
      {"\n[host.\"https://a\"\n", "hosts.toml:2"},
      {"\n[=\"https://a\"]\n", "hosts.toml:2"},
      {"\n\u0163", "hosts.toml:2"},
      {"server = 5", "server must be a string"},
      {"skip_verify = \"yes\"", "skip_verify must be true or false"},
      {"[host.\"https://a\"]\ncapabilities = [\"fly\"]", "unknown name \"fly\""},
      {"host = 5", "host must be tables"},
      {"[host]\n\"https://a\" = 5", "host \"https://a\" must be a table"},
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
