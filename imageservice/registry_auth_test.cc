#include "imageservice/registry_auth.h"

#include <string>

#include "gtest/gtest.h"

namespace gantry::images {
namespace {

TEST(AuthChallenge, HeadersAreReadAsTheRfcWritesThem) {
  const auto bearer = ParseChallenges(
      R"(Bearer realm="https://auth.docker.io/token",service="registry.docker.io", scope="repository:a/b:pull,push",error="x\"y")");
  ASSERT_EQ(bearer.size(), 1u);
  EXPECT_EQ(bearer[0].scheme, "bearer");
  EXPECT_EQ(bearer[0].parameters.at("realm"), "https://auth.docker.io/token");
  EXPECT_EQ(bearer[0].parameters.at("scope"), "repository:a/b:pull,push");
  EXPECT_EQ(bearer[0].parameters.at("error"), "x\"y");
  const auto two = ParseChallenges("BASIC Realm = plain , Bearer realm=\"r\"");
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[0].scheme, "basic");
  EXPECT_EQ(two[0].parameters.at("realm"), "plain");
  EXPECT_EQ(two[1].parameters.at("realm"), "r");
}

TEST(AuthChallenge, NonsenseEndsTheListAndNothingElse) {
  for (const std::string text :
       {"", " ,, ", "=", "a=b", "\"", "Basic realm=\"open", "Basic realm=\"\\", "\xff\xfe"}) {
    EXPECT_LE(ParseChallenges(text).size(), 1u) << text;
  }
  EXPECT_LE(ParseChallenges(std::string(100000, 'a')).size(), 1u);
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "Basic ";
  EXPECT_LE(ParseChallenges(many).size(), 16u);
}

TEST(Credentials, OneWayIsTakenInTheOrderOfTheHeader) {
  Credentials all{.username = "u",
                  .password = "p",
                  .auth = "eDp5",
                  .identity_token = "i",
                  .registry_token = "r"};
  EXPECT_EQ(ReadCredentials(all)->registry_token, "r");
  all.registry_token = "";
  EXPECT_EQ(ReadCredentials(all)->identity_token, "i");
  all.identity_token = "";
  EXPECT_EQ(ReadCredentials(all)->username, "u");
  all.username = "";
  EXPECT_EQ(ReadCredentials(all)->username, "x");
  EXPECT_EQ(ReadCredentials(all)->password, "y");
  EXPECT_EQ(ReadCredentials({.username = "<token>", .password = "t"})->identity_token, "t");
  EXPECT_TRUE(ReadCredentials({})->empty());
  EXPECT_FALSE(ReadCredentials({.auth = "!!"}).ok());
  EXPECT_FALSE(ReadCredentials({.auth = "YWJj"}).ok()) << "no colon";
  EXPECT_FALSE(ReadCredentials({.username = "a\r\nX: y", .password = "p"}).ok());
}

TEST(Credentials, TheyAreForOneHostOnly) {
  RegistryEndpoint upstream;
  upstream.base = *ParseUrl("https://registry-1.docker.io/v2");
  upstream.upstream = true;
  RegistryEndpoint mirror;
  mirror.base = *ParseUrl("https://mirror.example:5000/v2");
  const Credentials anywhere{.username = "u"};
  EXPECT_TRUE(CredentialsAreFor(anywhere, "docker.io", upstream));
  EXPECT_FALSE(CredentialsAreFor(anywhere, "docker.io", mirror));
  const Credentials hub{.username = "u", .server_address = "https://index.docker.io/v1/"};
  EXPECT_TRUE(CredentialsAreFor(hub, "docker.io", upstream));
  EXPECT_FALSE(CredentialsAreFor(hub, "docker.io", mirror));
  const Credentials named{.username = "u", .server_address = "Mirror.example:5000"};
  EXPECT_TRUE(CredentialsAreFor(named, "docker.io", mirror));
  EXPECT_FALSE(CredentialsAreFor(named, "docker.io", upstream));
  const Credentials other{.username = "u", .server_address = "mirror.example"};
  EXPECT_FALSE(CredentialsAreFor(other, "docker.io", mirror)) << "another port is another host";
}

}  // namespace
}  // namespace gantry::images
