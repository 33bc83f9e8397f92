// The conflist that `gantry config network --bridge` writes, and how it is put in its place.
#include "cri/cli/network_config.h"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "cri/network/conflist.h"
#include "runtime/linux/file.h"

namespace gantry::cli {
namespace {

using ::testing::HasSubstr;

TEST(BridgeConflist, IsAListThatTheDaemonTakes) {
  BridgeNetwork network;
  network.subnets = {"10.85.0.0/16", "fd00:85::/64"};
  const auto text = BridgeConflist(network);
  ASSERT_TRUE(text.ok()) << text.status();
  const auto config = cri::ParseCniConfig(*text);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->name, "gantry");
  EXPECT_EQ(config->version, "1.0.0");
  ASSERT_EQ(config->plugins.size(), 2u);
  EXPECT_THAT(config->plugins[1].capabilities, ::testing::ElementsAre("portMappings"));
  const auto bridge = nlohmann::json::parse(config->plugins[0].json);
  EXPECT_EQ(bridge["bridge"], "gantry0");
  EXPECT_EQ(
      bridge["ipam"]["ranges"],
      nlohmann::json::parse(R"([[{"subnet": "10.85.0.0/16"}], [{"subnet": "fd00:85::/64"}]])"));
  EXPECT_EQ(bridge["ipam"]["routes"].size(), 2u);
}

struct BadNetwork {
  BridgeNetwork network;
  const char* error;
};

TEST(BridgeConflist, RefusesWhatWouldNotWork) {
  const BadNetwork kBad[] = {
      {{"a/b", "b0", {"10.0.0.0/8"}}, "--name \"a/b\""},
      {{"", "b0", {"10.0.0.0/8"}}, "--name \"\""},
      {{"n", "an-interface-too-long", {"10.0.0.0/8"}}, "--interface"},
      {{"n", "b/0", {"10.0.0.0/8"}}, "--interface"},
      {{"n", "b0", {"10.0.0.0"}}, "is no subnet"},
      {{"n", "b0", {"10.0.0.0/31"}}, "is no subnet"},
      {{"n", "b0", {"0.0.0.0/0"}}, "is no subnet"},
      {{"n", "b0", {"fd00::/127"}}, "is no subnet"},
      {{"n", "b0", {"here/24"}}, "is no subnet"},
      {{"n", "b0", {"10.0.0.1/24"}}, "bits behind /24 are set"},
      {{"n", "b0", {"10.0.0.0/24", "10.1.0.0/24"}}, "one of this family already"},
  };
  for (const BadNetwork& bad : kBad) {
    const Status status = BridgeConflist(bad.network).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad.error;
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad.error));
  }
}

TEST(WriteConflist, OverwritesOnlyWhenForced) {
  std::string root = testing::TempDir() + "/gantry_network_XXXXXX";
  ASSERT_NE(mkdtemp(root.data()), nullptr);
  const std::string folder = root + "/cni/net.d";
  const auto path = WriteConflist(folder, "net", "one", false);
  ASSERT_TRUE(path.ok()) << path.status();
  EXPECT_EQ(*path, folder + "/10-net.conflist");
  const Status again = WriteConflist(folder, "net", "two", false).status();
  EXPECT_EQ(again.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(again.message()), HasSubstr("--force overwrites it"));
  EXPECT_EQ(*ReadFileAt(AT_FDCWD, *path), "one");
  EXPECT_TRUE(WriteConflist(folder, "net", "two", true).ok());
  EXPECT_EQ(*ReadFileAt(AT_FDCWD, *path), "two");
  struct stat info = {};
  ASSERT_EQ(stat(path->c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644u);
  // Nothing but the file.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace gantry::cli
