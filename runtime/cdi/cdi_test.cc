#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "runtime/cdi/apply.h"
#include "runtime/cdi/names.h"
#include "runtime/cdi/parse.h"
#include "runtime/cdi/registry.h"

namespace gantry::cdi {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kGood[] = R"(cdiVersion: "0.6.0"
kind: vendor.com/gpu
devices:
- name: "0"
  containerEdits:
    env: ["WHICH=0"]
    deviceNodes:
    - path: /dev/gpu0
      hostPath: /dev/null
      permissions: rw
- name: all
  containerEdits:
    env: ["WHICH=all"]
containerEdits:
  env: ["VENDOR=yes"]
  mounts:
  - {hostPath: /etc/hostname, containerPath: /opt/vendor/lib/deep/name, options: [ro, nosuid]}
)";

TEST(CdiNames, OnlyFullyQualifiedOnesAreTaken) {
  const auto name = ParseQualifiedName("vendor.com/gpu=GPU-0:1");
  ASSERT_TRUE(name.ok()) << name.status();
  EXPECT_EQ(name->kind, "vendor.com/gpu");
  EXPECT_EQ(name->device, "GPU-0:1");
  for (const char* bad : {"", "gpu", "vendor/gpu", "vendor/gpu=", "=x", "/gpu=x", "1vendor/gpu=x",
                          "vendor/g pu=x", "vendor/gpu=-x", "vendor/gpu=../x", "a/b/c=x"})
    EXPECT_TRUE(absl::IsInvalidArgument(ParseQualifiedName(bad).status())) << bad;
}

TEST(CdiFile, YamlAndJsonSayTheSame) {
  const auto yaml = ParseSpecFile(kGood, "a.yaml");
  ASSERT_TRUE(yaml.ok()) << yaml.status();
  EXPECT_EQ(yaml->kind, "vendor.com/gpu");
  ASSERT_EQ(yaml->devices.size(), 2U);
  EXPECT_EQ(yaml->devices[0].name, "0");
  EXPECT_EQ(yaml->devices[0].edits.device_nodes[0].host_path, "/dev/null");
  EXPECT_THAT(yaml->edits.mounts[0].options, ElementsAre("ro", "nosuid"));
  const auto json = ParseSpecFile(
      R"({"cdiVersion":"1.0.0","kind":"v/c","devices":[{"name":"a","containerEdits":{"env":["A=1"]}}]})",
      "a.json");
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_THAT(json->devices[0].edits.env, ElementsAre("A=1"));
}

TEST(CdiFile, WhatIsWrongIsSaidWithItsPlace) {
  const struct {
    const char* description;
    const char* from;
    const char* to;
    const char* words;
  } rows[] = {
      {"unknown version", "0.6.0", "0.9.9", "0.9.9"},
      {"unknown field", "kind: ", "colour: red\nkind: ", "colour"},
      {"field of a later version", "0.6.0", "0.4.0", "0.5.0"},
      {"device that changes nothing", "env: [\"WHICH=all\"]", "env: []", "changes nothing"},
      {"device twice", "name: all", "name: \"0\"", "occurs twice"},
      {"kind without class", "vendor.com/gpu", "vendor.com", "vendor/class"},
      {"variable without value", "VENDOR=yes", "VENDOR", "KEY=value"},
      {"wrong type", "env: [\"WHICH=0\"]", "env: 5", "devices[0].containerEdits.env"},
      {"odd permissions", "permissions: rw", "permissions: all", "permissions"},
      {"relative path", "path: /dev/gpu0", "path: gpu0", "not absolute"},
      {"no YAML", "devices:", "devices: [", "line"},
      {"key twice", "kind: vendor.com/gpu", "kind: a/b\nkind: vendor.com/gpu", "occurs twice"},
  };
  for (const auto& row : rows) {
    const std::string text = absl::StrReplaceAll(kGood, {{row.from, row.to}});
    const auto file = ParseSpecFile(text, "a.yaml");
    EXPECT_TRUE(absl::IsInvalidArgument(file.status())) << row.description;
    EXPECT_THAT(std::string(file.status().message()), HasSubstr(row.words)) << row.description;
  }
}

TEST(CdiFile, AliasesDoNotMakeAMountainOfALine) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 10; ++i) {
    absl::StrAppend(&bomb, "a", i, ": &a", i, " [");
    for (int k = 0; k < 10; ++k) absl::StrAppend(&bomb, k == 0 ? "*a" : ", *a", i - 1);
    absl::StrAppend(&bomb, "]\n");
  }
  EXPECT_THAT(std::string(ParseSpecFile(bomb, "a.yaml").status().message()),
              HasSubstr("too many values"));
}

class CdiRegistry : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-cdi.XXXXXX";
    folder_ = mkdtemp(name);
    for (const char* sub : {"low", "high"}) std::filesystem::create_directory(folder_ + "/" + sub);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // As vendors write: beside it, then renamed into place.
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ + "/new") << text;
    std::filesystem::rename(folder_ + "/new", folder_ + "/" + name);
  }
  static std::string File(const std::string& device, const std::string& value) {
    return absl::StrCat("cdiVersion: 0.6.0\nkind: v/c\ndevices:\n- name: ", device,
                        "\n  containerEdits: {env: [\"V=", value, "\"]}\n");
  }
  std::string ValueOf(const std::string& name) {
    const auto found = registry().Find({name});
    return found.ok() ? found->at(0).device->edits.env.at(0)
                      : std::string(found.status().message());
  }
  Registry& registry() {
    if (registry_ == nullptr)
      registry_ = std::make_unique<Registry>(
          std::vector<std::string>{folder_ + "/low", folder_ + "/high", folder_ + "/missing"});
    return *registry_;
  }

  std::string folder_;
  std::unique_ptr<Registry> registry_;
};

TEST_F(CdiRegistry, TheLaterFolderWinsAndChangesAreSeen) {
  Write("low/a.yaml", File("x", "low"));
  EXPECT_EQ(ValueOf("v/c=x"), "V=low");
  Write("high/b.yaml", File("x", "high"));
  EXPECT_EQ(ValueOf("v/c=x"), "V=high");
  Write("high/b.yaml", File("x", "again"));
  EXPECT_EQ(ValueOf("v/c=x"), "V=again");
  std::filesystem::remove(folder_ + "/high/b.yaml");
  EXPECT_EQ(ValueOf("v/c=x"), "V=low");
}

TEST_F(CdiRegistry, Row86ABrokenFileFailsOnlyThoseWhoUseIt) {
  Write("low/good.yaml", File("x", "good"));
  Write("low/broken.yaml", "cdiVersion: 0.6.0\nkind: v/other\ndevices: {}\n");
  EXPECT_EQ(ValueOf("v/c=x"), "V=good");
  EXPECT_THAT(ValueOf("v/other=y"), HasSubstr("broken.yaml cannot be used: devices"));
  ASSERT_EQ(registry().Errors().size(), 1U);
  Write("low/broken.yaml", absl::StrReplaceAll(File("y", "whole"), {{"v/c", "v/other"}}));
  EXPECT_EQ(ValueOf("v/other=y"), "V=whole");
  EXPECT_THAT(registry().Errors(), IsEmpty());
}

TEST_F(CdiRegistry, ADeviceThatTwoFilesOfOneFolderOfferIsNobodys) {
  Write("low/a.yaml", File("x", "a"));
  Write("low/b.yaml", File("x", "b"));
  EXPECT_THAT(ValueOf("v/c=x"), HasSubstr("a.yaml and "));
  Write("high/c.yaml", File("x", "c"));
  EXPECT_EQ(ValueOf("v/c=x"), "V=c");
}

TEST_F(CdiRegistry, AllThatIsMissingIsNamedWithWhatThereIs) {
  Write("low/a.yaml", File("x", "a"));
  const auto found = registry().Find({"v/c=x", "v/c=y", "w/d=z"});
  EXPECT_TRUE(absl::IsFailedPrecondition(found.status()));
  EXPECT_THAT(std::string(found.status().message()),
              testing::AllOf(HasSubstr("unresolvable CDI devices v/c=y, w/d=z"),
                             HasSubstr(folder_ + "/low"), HasSubstr("there are v/c=x")));
  EXPECT_TRUE(absl::IsInvalidArgument(registry().Find({"v/c=x", "junk"}).status()));
}

TEST_F(CdiRegistry, AFifoThatSomebodyHasPutThereHoldsUpNobody) {
  ASSERT_EQ(mkfifo((folder_ + "/low/a.yaml").c_str(), 0600), 0);
  Write("low/b.yaml", File("x", "b"));
  EXPECT_EQ(ValueOf("v/c=x"), "V=b");
}

class CdiApply : public CdiRegistry {
 protected:
  CdiApply() {
    spec_.process.emplace();
    spec_.process->env = {"PATH=/bin", "VENDOR=no"};
    spec_.process->user.uid = 1000;
    spec_.mounts = {{.destination = "/proc", .type = "proc"}, {.destination = "/opt/vendor/lib"}};
  }
  Status Use(const std::vector<std::string>& names) {
    const auto found = registry().Find(names);
    return found.ok() ? Apply(*found, &spec_) : found.status();
  }
  spec::Spec spec_;
};

TEST_F(CdiApply, EditsOfTheFileComeOnceAndThoseOfEachDeviceInOrder) {
  Write("low/a.yaml", kGood);
  ASSERT_EQ(Use({"vendor.com/gpu=0", "vendor.com/gpu=all", "vendor.com/gpu=0"}), absl::OkStatus());
  EXPECT_THAT(spec_.process->env, ElementsAre("PATH=/bin", "VENDOR=yes", "WHICH=all"));
  ASSERT_EQ(spec_.linux_.devices.size(), 1U);
  const spec::Device& device = spec_.linux_.devices[0];
  EXPECT_EQ(device.path, "/dev/gpu0");
  EXPECT_EQ(std::tuple(device.type, device.major, device.minor), std::tuple("c", 1, 3));
  EXPECT_EQ(device.uid, 1000U);
  ASSERT_EQ(spec_.linux_.resources->devices.size(), 1U);
  EXPECT_EQ(spec_.linux_.resources->devices[0].access, "rw");
  EXPECT_EQ(spec_.mounts.back().destination, "/opt/vendor/lib/deep/name") << "deeper ones last";
  EXPECT_EQ(spec_.mounts.size(), 3U);
}

TEST_F(CdiApply, ANodeThatIsNotThereOrIsALinkIsRefused) {
  for (const char* host : {"/dev/no-such-gpu", "/dev/stdin", "/etc"}) {
    Write("low/a.yaml",
          absl::StrReplaceAll(kGood, {{"hostPath: /dev/null", absl::StrCat("hostPath: ", host)}}));
    const Status status = Use({"vendor.com/gpu=0"});
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(
        std::string(status.message()),
        testing::AllOf(HasSubstr(host), HasSubstr("vendor.com/gpu=0"), HasSubstr("a.yaml")));
  }
}

TEST_F(CdiApply, WhatIsNotDoneIsNotPassedOver) {
  Write(
      "low/a.yaml",
      absl::StrCat(kGood, "  hooks: [{hookName: createContainer, path: /usr/bin/vendor-hook}]\n"));
  const Status status = Use({"vendor.com/gpu=0"});
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("/usr/bin/vendor-hook"));
}

}  // namespace
}  // namespace gantry::cdi
