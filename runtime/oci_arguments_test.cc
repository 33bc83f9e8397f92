#include "runtime/oci_arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace gantry::runtime {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const OptionTable kTable = {
    .flags = {"force", "tty"},
    .with_value = {"bundle", "env"},
    .short_names = {{'f', "force"}, {'t', "tty"}, {'b', "bundle"}, {'e', "env"}}};

StatusOr<Options> Parse(const std::vector<std::string>& arguments) {
  return ParseOptions(kTable, arguments);
}

TEST(ParseOptions, TakesRuncsForms) {
  const auto options = Parse(
      {"--force", "--bundle", "/a", "-e", "A=1", "--env=B=2", "-eC=3", "id", "-x", "--force"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_TRUE(options->Has("force"));
  EXPECT_FALSE(options->Has("tty"));
  EXPECT_EQ(options->Get("bundle"), "/a");
  EXPECT_THAT(options->All("env"), ElementsAre("A=1", "B=2", "C=3"));
  EXPECT_THAT(options->positional, ElementsAre("id", "-x", "--force"));
  EXPECT_TRUE(Parse({"-ft"})->Has("tty"));
  EXPECT_EQ(Parse({"-bundle", "/b"}).ok(), true);
  EXPECT_FALSE(Parse({"--force=false"})->Has("force"));
  EXPECT_THAT(Parse({"--", "-f"})->positional, ElementsAre("-f"));
  EXPECT_THAT(Parse({"-"})->positional, ElementsAre("-"));
  EXPECT_EQ(Parse({"--bundle="})->Get("bundle"), "");
  EXPECT_THAT(Parse({})->positional, IsEmpty());
}

TEST(ParseOptions, NamesWhatIsWrong) {
  EXPECT_THAT(std::string(Parse({"--nope"}).status().message()),
              HasSubstr("unknown option --nope"));
  EXPECT_THAT(std::string(Parse({"-z"}).status().message()), HasSubstr("unknown option -z"));
  EXPECT_THAT(std::string(Parse({"--bundle"}).status().message()),
              HasSubstr("--bundle needs a value"));
  EXPECT_THAT(std::string(Parse({"-b"}).status().message()), HasSubstr("-b needs a value"));
  EXPECT_THAT(std::string(Parse({"--force=1"}).status().message()), HasSubstr("takes no value"));
}

}  // namespace
}  // namespace gantry::runtime
