#include "cri/network/conflist.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "cri/network/cni_result.h"

namespace gantry::cri {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kList[] = R"({"cniVersion": "1.0.0", "name": "net", "disableCheck": "true",
  "plugins": [{"type": "bridge", "bridge": "b0", "capabilities": {"dns": true, "ips": false}},
              {"type": "portmap", "capabilities": {"portMappings": true}}]})";

TEST(Conflist, ReadsAListAndKeepsWhatItDoesNotKnow) {
  const StatusOr<CniConfig> config = ParseCniConfig(kList);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->name, "net");
  EXPECT_EQ(config->version, "1.0.0");
  ASSERT_EQ(config->plugins.size(), 2u);
  EXPECT_EQ(config->plugins[0].type, "bridge");
  EXPECT_THAT(config->plugins[0].capabilities, ElementsAre("dns"));
  EXPECT_THAT(config->plugins[0].json, HasSubstr("\"bridge\":\"b0\""));
}

TEST(Conflist, BooleansMayBeStrings) {
  const auto config = ParseCniConfig(
      R"({"name": "n", "disableGC": "true", "plugins": [
          {"type": "t", "capabilities": {"dns": "true", "ips": "false", "mac": true}}]})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(config->disable_gc);
  EXPECT_THAT(config->plugins[0].capabilities, ElementsAre("dns", "mac"));
  const auto bad =
      ParseCniConfig(R"({"name": "n", "disableGC": "yes", "plugins": [{"type": "t"}]})");
  EXPECT_EQ(bad.status().message(), "\"disableGC\" must be true or false");
}

TEST(Conflist, PluginsOfItsFolderComeBehindItsOwn) {
  constexpr char kText[] = R"({"name": "n", "plugins": [{"type": "one"}]})";
  EXPECT_EQ(CniPluginFolder(kText), "n");
  const auto config = ParseCniConfig(kText, {R"({"type": "two", "key": 1})"});
  ASSERT_TRUE(config.ok()) << config.status();
  ASSERT_EQ(config->plugins.size(), 2u);
  EXPECT_EQ(config->plugins[1].type, "two");
  // What is recorded stands alone.
  EXPECT_EQ(CniPluginFolder(config->bytes), "");
  EXPECT_EQ(ParseCniConfig(config->bytes)->plugins.size(), 2u);
  // A list may have them all in its folder.
  EXPECT_TRUE(ParseCniConfig(R"({"name": "n"})", {R"({"type": "two"})"}).ok());
}

TEST(Conflist, NoFolderForASinglePluginOrWhenTheListSaysSo) {
  EXPECT_EQ(CniPluginFolder(R"({"name": "n", "type": "t"})"), "");
  EXPECT_EQ(CniPluginFolder(R"({"name": "n", "loadOnlyInlinedPlugins": true, "plugins": []})"), "");
  EXPECT_EQ(CniPluginFolder(R"({"name": "../n", "plugins": []})"), "");
  EXPECT_EQ(CniPluginFolder("{"), "");
}

TEST(Conflist, ItsBytesAreReadBackTheSame) {
  for (const char* text : {kList, R"({"name": "old", "type": "ptp", "cniVersion": "0.3.1"})"}) {
    const StatusOr<CniConfig> config = ParseCniConfig(text);
    ASSERT_TRUE(config.ok()) << config.status();
    const StatusOr<CniConfig> again = ParseCniConfig(config->bytes);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->bytes, config->bytes);
    EXPECT_EQ(again->name, config->name);
    EXPECT_EQ(again->version, config->version);
    EXPECT_EQ(again->plugins.size(), config->plugins.size());
  }
}

TEST(Conflist, PicksTheHighestVersionThatWeKnow) {
  const auto version = [](const std::string& versions) {
    const StatusOr<CniConfig> config =
        ParseCniConfig("{" + versions + R"("name": "n", "plugins": [{"type": "t"}]})");
    return config.ok() ? config->version : std::string(config.status().message());
  };
  EXPECT_EQ(version(R"("cniVersion": "0.4.0", "cniVersions": ["1.1.0", "9.9.9", "1.0.0"],)"),
            "1.1.0");
  EXPECT_EQ(version(R"("cniVersion": "0.3.1",)"), "0.3.1");
  EXPECT_EQ(version(""), "0.1.0");
  EXPECT_THAT(version(R"("cniVersion": "2.0.0",)"), HasSubstr("\"2.0.0\" is not known"));
}

TEST(Conflist, VersionsAreComparedAsNumbers) {
  EXPECT_TRUE(CniVersionAtLeast("0.4.0", "0.4.0"));
  EXPECT_TRUE(CniVersionAtLeast("1.10.0", "1.9.0"));
  EXPECT_FALSE(CniVersionAtLeast("0.3.1", "0.4.0"));
}

struct BadConfig {
  const char* description;
  const char* text;
  const char* error;
};

TEST(Conflist, RefusesWhatItCannotRun) {
  const BadConfig kConfigs[] = {
      {"no JSON", "{", ""},
      {"a list", "[]", "must be an object"},
      {"no name", R"({"plugins": [{"type": "t"}]})", "name \"\""},
      {"a name that is a path", R"({"name": "../x", "plugins": [{"type": "t"}]})", "name \"../x\""},
      {"no plugins", R"({"name": "n"})", "\"plugins\" must be"},
      {"empty plugins", R"({"name": "n", "plugins": []})", "at least one"},
      {"a plugin without a type", R"({"name": "n", "plugins": [{"type": "t"}, {}]})",
       "plugins[1]: \"type\" is missing"},
      {"a type that is a path", R"({"name": "n", "plugins": [{"type": "../../bin/sh"}]})",
       "is not the name of a program"},
      {"a number for a type", R"({"name": "n", "plugins": [{"type": 3}]})", "\"type\" is missing"},
      {"a plugin that is no object", R"({"name": "n", "plugins": ["t"]})", "must be an object"},
  };
  for (const BadConfig& config : kConfigs) {
    const Status status = ParseCniConfig(config.text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << config.description;
    EXPECT_THAT(std::string(status.message()), HasSubstr(config.error)) << config.description;
  }
}

struct Result {
  const char* description;
  const char* text;
  const char* addresses;  // joined by commas, or the error
};

TEST(CniResult, AddressesOfThePod) {
  const Result kResults[] = {
      {"1.0.0", R"({"ips": [{"address": "10.0.0.5/24"}]})", "10.0.0.5"},
      {"0.3.1 with a version", R"({"ips": [{"version": "4", "address": "10.0.0.5/24"}]})",
       "10.0.0.5"},
      {"0.2.0", R"({"ip4": {"ip": "10.0.0.5/24"}, "ip6": {"ip": "fd00::5/64"}})",
       "10.0.0.5,fd00::5"},
      {"IPv4 first", R"({"ips": [{"address": "fd00::5/64"}, {"address": "10.0.0.5/24"}]})",
       "10.0.0.5,fd00::5"},
      {"not those on the host",
       R"({"interfaces": [{"name": "br"}, {"name": "eth0", "sandbox": "/n"}],
           "ips": [{"address": "10.0.0.1/24", "interface": 0}, {"address": "10.0.0.5/24", "interface": 1}]})",
       "10.0.0.5"},
      {"an index out of range",
       R"({"interfaces": [], "ips": [{"address": "10.0.0.5/24", "interface": 7}]})", "10.0.0.5"},
      {"no address", R"({"ips": []})", "the CNI result has no address for the pod"},
      {"not an address", R"({"ips": [{"address": "here"}, 3, {"address": 4}]})",
       "the CNI result has no address for the pod"},
      {"not an object", "[]",
       "the CNI result is malformed: not an object; the plugin printed \"[]\""},
  };
  for (const Result& result : kResults) {
    const auto addresses = PodAddresses(result.text);
    std::string text = addresses.ok() ? "" : std::string(addresses.status().message());
    if (addresses.ok()) {
      for (const std::string& address : *addresses) text += (text.empty() ? "" : ",") + address;
    }
    EXPECT_EQ(text, result.addresses) << result.description;
  }
  EXPECT_EQ(PodAddresses("garbage").status().code(), absl::StatusCode::kDataLoss);
}

TEST(CniResult, PreferredFamilyComesFirst) {
  constexpr char kBoth[] =
      R"({"ips": [{"address": "fd00::5/64"}, {"address": "10.0.0.5/24"}, {"address": "fd00::6/64"}]})";
  EXPECT_THAT(*PodAddresses(kBoth, IpPreference::kCni),
              ElementsAre("fd00::5", "10.0.0.5", "fd00::6"));
  EXPECT_THAT(*PodAddresses(kBoth, IpPreference::kIpv4),
              ElementsAre("10.0.0.5", "fd00::5", "fd00::6"));
  EXPECT_THAT(*PodAddresses(kBoth, IpPreference::kIpv6),
              ElementsAre("fd00::5", "fd00::6", "10.0.0.5"));
  // One that the pod does not have is no reason to fail.
  EXPECT_THAT(*PodAddresses(R"({"ips": [{"address": "10.0.0.5/24"}]})", IpPreference::kIpv6),
              ElementsAre("10.0.0.5"));
  for (const char* name : {"cni", "ipv4", "ipv6"}) EXPECT_TRUE(ParseIpPreference(name).ok());
  EXPECT_EQ(ParseIpPreference("both").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CniResult, TheConfigurationsVersionIsMeantWhereThereIsNone) {
  EXPECT_EQ(*WithCniVersion(R"({"ips":[]})", "1.0.0"), R"({"cniVersion":"1.0.0","ips":[]})");
  // As it came, blanks and all.
  EXPECT_EQ(*WithCniVersion(R"({ "cniVersion": "0.4.0" })", "1.0.0"),
            R"({ "cniVersion": "0.4.0" })");
  EXPECT_EQ(WithCniVersion("3", "1.0.0").status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace gantry::cri
