#include "cri/config/config.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::cri {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string ErrorOf(absl::string_view text) {
  const StatusOr<Config> config = ParseConfig(text, "test.toml");
  return config.ok() ? "" : std::string(config.status().message());
}

TEST(Config, EmptyFileIsTheDefaults) {
  const StatusOr<Config> config = ParseConfig("", "test.toml");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(DumpConfig(*config), DumpConfig(Config()));
}

TEST(Config, ReadsEveryKindOfValue) {
  const StatusOr<Config> config = ParseConfig(
      "root = \"/a\"\nsocket_group = \"wheel\"\n[image]\nmax_concurrent_layers = 3\n"
      "[network]\nbin_dirs = [\"/x\", \"/y\"]\n[runtime]\nshim_cgroup = \"/shims\"\n",
      "test.toml");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->root, "/a");
  EXPECT_EQ(config->socket_group, "wheel");
  EXPECT_EQ(config->image.max_concurrent_layers, 3);
  EXPECT_THAT(config->network.bin_dirs, ElementsAre("/x", "/y"));
  EXPECT_EQ(config->runtime.shim_cgroup, "/shims");
}

TEST(Config, StreamingOffTheLoopbackNeedsTls) {
  constexpr char kAddress[] = "[streaming]\naddress = \"192.0.2.1\"\n";
  EXPECT_THAT(ErrorOf(kAddress), HasSubstr("is not the loopback"));
  EXPECT_EQ(ErrorOf(std::string(kAddress) + "tls_cert_file = \"/c\"\ntls_key_file = \"/k\"\n"), "");
  EXPECT_EQ(ErrorOf("[streaming]\naddress = \"::1\"\nport = 10010\n"), "");
  EXPECT_THAT(ErrorOf("[streaming]\naddress = \"localhost\"\n"), HasSubstr("is no IP address"));
  EXPECT_THAT(ErrorOf("[streaming]\nport = 70000\n"), HasSubstr("0 to 65535"));
  EXPECT_THAT(ErrorOf("[streaming]\nidle_timeout = \"4\"\n"), HasSubstr("is no time"));
  EXPECT_THAT(ErrorOf("[streaming]\ntls_cert_file = \"/c\"\n"), HasSubstr("give both"));
  EXPECT_THAT(ErrorOf("[streaming]\ntls_client_ca_file = \"/a\"\n"), HasSubstr("needs"));
}

TEST(Config, DefaultTextAndDumpAreReadBackTheSame) {
  const StatusOr<Config> defaults = ParseConfig(DefaultConfigText(), "default");
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_EQ(DumpConfig(*defaults), DumpConfig(Config()));

  Config odd;
  odd.root = "/with \"quotes\" \\ and\ttab";
  odd.network.bin_dirs = {"/one", "/t\x01wo"};
  const StatusOr<Config> again = ParseConfig(DumpConfig(odd), "dump");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->root, odd.root);
  EXPECT_EQ(again->network.bin_dirs, odd.network.bin_dirs);
}

struct BadFile {
  const char* description;
  const char* text;
  const char* error;
};

TEST(Config, RefusesBadFilesWithFileLineAndReason) {
  const BadFile files[] = {
      {"a typo at the top", "\nrooot = \"/a\"\n",
       "test.toml:2: unknown key \"rooot\" (did you mean \"root\"?)"},
      {"a typo in a section", "[network]\n\nconfdir = \"/a\"\n",
       "test.toml:3: unknown key \"network.confdir\" (did you mean \"conf_dir\"?)"},
      {"a typo in a section's name", "[netwrok]\nconf_dir = \"/a\"\n",
       "test.toml:1: unknown key \"netwrok\" (did you mean \"network\"?)"},
      {"a key in the wrong section", "conf_dir = \"/a\"\n",
       "test.toml:1: unknown key \"conf_dir\" (did you mean \"network.conf_dir\"?)"},
      {"nothing near", "[image]\nbananas = 1\n", "test.toml:2: unknown key \"image.bananas\""},
      {"a number for a string", "root = 3\n",
       "test.toml:1: root: must be a string, not an integer"},
      {"a string for a number", "[image]\nmax_concurrent_layers = \"3\"\n",
       "test.toml:2: image.max_concurrent_layers: must be an integer, not a string"},
      {"a number in an array", "[network]\nbin_dirs = [\"/a\", 1]\n",
       "test.toml:2: network.bin_dirs: must be an array of strings, not an integer"},
      {"an empty array", "[network]\nbin_dirs = []\n", "network.bin_dirs: needs at least one path"},
      {"a value for a section", "image = 1\n", "test.toml:1: image: must be a table"},
      {"a relative path", "state = \"run\"\n",
       "test.toml:1: state: \"run\" is not an absolute path"},
      {"a relative path in a list", "[image]\nauth_files = \"/a:b\"\n",
       "test.toml:2: image.auth_files: \"b\" is not an absolute path"},
      {"a TCP socket", "listen = \"tcp://0.0.0.0:1\"\n", "write unix:///absolute/path"},
      {"an unknown level", "log_level = \"warn\"\n",
       "\"warn\" is none of debug, info, warning, error"},
      {"a pin with a blank", "[image]\npinned_images = [\"a b\"]\n",
       "test.toml:2: image.pinned_images: \"a b\" is no name of an image"},
      {"too many layers", "[image]\nmax_concurrent_layers = 65\n",
       "65 is not in the range 1 to 64"},
      {"more than an int", "[image]\nmax_concurrent_layers = 4294967297\n",
       "4294967297 is out of range"},
      {"the systemd driver", "[runtime]\ncgroup_driver = \"systemd\"\n",
       "runtime.cgroup_driver: the systemd driver is not implemented yet"},
      {"an unknown driver", "[runtime]\ncgroup_driver = \"sytemd\"\n", "did you mean \"systemd\"?"},
      {"another handler", "[runtime]\ndefault_handler = \"runc\"\n", "only the native handler"},
      {"an external runtime", "[runtime.handlers.runc]\npath = \"/usr/bin/runc\"\n",
       "test.toml:1: runtime.handlers.runc: external runtimes are not implemented yet"},
      {"no TOML", "root = \n", "test.toml:1: "},
      {"no name of a section", "\n[=image]\n", "test.toml:2: "},
      {"a key twice", "root = \"/a\"\nroot = \"/b\"\n", "test.toml:2: "},
      {"one folder for both", "root = \"/a\"\nstate = \"/a\"\n", "must be two folders"},
  };
  for (const BadFile& file : files) {
    EXPECT_THAT(ErrorOf(file.text), HasSubstr(file.error)) << file.description;
  }
}

TEST(Config, MissingFileIsNotFoundAndTellsTheWayOut) {
  const StatusOr<Config> config = LoadConfig("/nonexistent/gantry.toml");
  EXPECT_EQ(config.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(config.status().message()), HasSubstr("/nonexistent/gantry.toml"));
}

TEST(Config, FolderInPlaceOfTheFileIsAnError) {
  EXPECT_EQ(LoadConfig("/").status().code(), absl::StatusCode::kInternal);
}

TEST(Config, LoadsAFile) {
  std::string path = testing::TempDir() + "/gantry_config_XXXXXX";
  const int fd = mkostemp(path.data(), O_CLOEXEC);
  ASSERT_GE(fd, 0);
  close(fd);
  std::ofstream(path) << DefaultConfigText();
  EXPECT_TRUE(LoadConfig(path).ok());
  std::ofstream(path) << "[image]\nregistry_confg_path = \"\"\n";
  EXPECT_EQ(LoadConfig(path).status().message(),
            path +
                ":2: unknown key \"image.registry_confg_path\" (did you mean "
                "\"registry_config_path\"?)");
  unlink(path.c_str());
}

TEST(SocketPath, AcceptsUnixAddressesAndPlainPaths) {
  EXPECT_EQ(*SocketPath("unix:///run/x.sock"), "/run/x.sock");
  EXPECT_EQ(*SocketPath("/run/x.sock"), "/run/x.sock");
  EXPECT_FALSE(SocketPath("unix://x.sock").ok());
  EXPECT_FALSE(SocketPath("unix:///run/").ok());
  EXPECT_FALSE(SocketPath("").ok());
}

}  // namespace
}  // namespace gantry::cri
