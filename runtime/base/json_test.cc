#include "runtime/base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#define JSON_NO_IO
#include "nlohmann/json.hpp"

namespace gantry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string ErrorOf(absl::string_view text, const JsonLimits& limits = {}) {
  const auto parsed = ParseJson(text, limits);
  EXPECT_TRUE(parsed.ok() || absl::IsInvalidArgument(parsed.status())) << parsed.status();
  return std::string(parsed.status().message());
}

TEST(ParseJson, KeepsValuesAndTheirOrder) {
  const auto parsed =
      ParseJson(R"({"b":[1,-2,18446744073709551615,1.5,true,null,"é"],"a":{"c":{}}})");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(DumpJson(*parsed),
            R"({"a":{"c":{}},"b":[1,-2,18446744073709551615,1.5,true,null,"é"]})");
}

TEST(ParseJson, RefusesADuplicateKeyAndNamesItsPath) {
  EXPECT_THAT(ErrorOf(R"({"process":{"args":["a"],"user":{"uid":0,"uid":1}}})"),
              HasSubstr("process.user.uid: the key occurs twice"));
  EXPECT_THAT(ErrorOf(R"([{"a":1},{"a":1,"a":2}])"), HasSubstr("twice"));
}

TEST(ParseJson, RefusesWhatIsNotOneCompleteDocument) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("malformed at byte"));
  EXPECT_THAT(ErrorOf("{}{}"), HasSubstr("malformed at byte"));
  EXPECT_THAT(ErrorOf(R"({"a":1,})"), HasSubstr("malformed at byte"));
  EXPECT_THAT(ErrorOf("{\"a\":\"\xff\xfe\"}"), HasSubstr("malformed at byte"));
  EXPECT_THAT(ErrorOf(R"({"a":1e999})"), HasSubstr("malformed"));
}

TEST(ParseJson, HoldsItsLimits) {
  EXPECT_THAT(ErrorOf(std::string(100'000, '[')), HasSubstr("nested deeper than 64"));
  EXPECT_EQ(ErrorOf(std::string(64, '[') + std::string(64, ']')), "");
  EXPECT_THAT(ErrorOf("[1,2,3]", {.max_bytes = 6}), HasSubstr("over the limit of 6"));
  EXPECT_THAT(ErrorOf("[1,2,3]", {.max_values = 3}), HasSubstr("more than 3 values"));
}

TEST(JsonReader, ReadsWhatIsThereAndLeavesTheRest) {
  const auto parsed = ParseJson(
      R"({"s":"x","n":null,"u":[0,4294967295],"m":{"k":"v"},"i":-5,
          "list":[{"b":true},{}],"o":{"deep":7}})");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  Status status;
  const JsonReader root(*parsed, status);
  std::string s, n = "kept";
  std::vector<uint32_t> u;
  std::map<std::string, std::string> m;
  std::optional<int32_t> i, absent;
  int64_t deep = 0;
  std::vector<bool> flags;
  root.Read("s", s);
  root.Read("n", n);
  root.Read("u", u);
  root.Read("m", m);
  root.Read("i", i);
  root.Read("absent", absent);
  root.Object("o", [&](const JsonReader& o) { o.Read("deep", deep); });
  root.ForEach("list", [&](const JsonReader& element) {
    bool b = false;
    element.Read("b", b);
    flags.push_back(b);
  });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(s, "x");
  EXPECT_EQ(n, "kept");
  EXPECT_THAT(u, ElementsAre(0u, 4294967295u));
  EXPECT_EQ(m["k"], "v");
  EXPECT_EQ(i, -5);
  EXPECT_FALSE(absent.has_value());
  EXPECT_EQ(deep, 7);
  EXPECT_THAT(flags, ElementsAre(true, false));
}

TEST(JsonReader, NamesThePathOfTheFirstError) {
  const auto parsed =
      ParseJson(R"({"a":[{"x":1},{"x":"no"}],"big":4294967296,"neg":-1,"f":1.5,"l":["a",2]})");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto error = [&](const std::function<void(JsonReader)>& read) {
    Status status;
    read(JsonReader(*parsed, status));
    return std::string(status.message());
  };
  uint32_t number = 0;
  std::vector<std::string> strings;
  EXPECT_EQ(error([&](const JsonReader& r) {
              r.ForEach("a", [&](const JsonReader& e) { e.Read("x", number); });
              r.Read("big", number);
            }),
            "a[1].x: must be an integer, not string");
  EXPECT_EQ(error([&](const JsonReader& r) { r.Read("big", number); }),
            "big: 4294967296 is out of range");
  EXPECT_EQ(error([&](const JsonReader& r) { r.Read("neg", number); }), "neg: -1 is out of range");
  EXPECT_EQ(error([&](const JsonReader& r) { r.Read("f", number); }),
            "f: must be an integer, not a fraction");
  EXPECT_EQ(error([&](const JsonReader& r) { r.Read("l", strings); }),
            "l[1]: must be a string, not number");
  EXPECT_EQ(error([&](const JsonReader& r) { r.Object("l", [](const JsonReader&) {}); }),
            "l: must be an object, not array");
  Status status;
  const nlohmann::json array = nlohmann::json::array();
  const JsonReader reader(array, status);
  EXPECT_EQ(status.message(), "document: must be an object, not array");
}

TEST(DumpJson, ReplacesBytesThatAreNotUtf8) {
  EXPECT_EQ(DumpJson(nlohmann::json("a\xff")), "\"a\xEF\xBF\xBD\"");
}

}  // namespace
}  // namespace gantry
