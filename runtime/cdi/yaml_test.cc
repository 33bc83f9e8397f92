#include "runtime/cdi/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#define JSON_NO_IO
#include "nlohmann/json.hpp"

namespace gantry::cdi {
namespace {

using testing::HasSubstr;

std::string ProblemWith(const std::string& text, const JsonLimits& limits = {}) {
  const auto document = ParseYaml(text, limits);
  if (document.ok()) return "none";
  EXPECT_TRUE(absl::IsInvalidArgument(document.status())) << document.status();
  return std::string(document.status().message());
}

TEST(Yaml, SaysWhatJsonSays) {
  const struct {
    const char* yaml;
    const char* json;
  } rows[] = {
      {"a: [1, -2, x, true, ~, '1', null, \"\"]", R"({"a":[1,-2,"x",true,null,"1",null,""]})"},
      {"a: {b: {c: []}, d: {}}\ne:", R"({"a":{"b":{"c":[]},"d":{}},"e":null})"},
      {"- x\n- - y\n  - z\n", R"(["x",["y","z"]])"},
      {"a: |\n  one\n  two\n", R"({"a":"one\ntwo\n"})"},
      {"5", "5"},
      {"'5'", R"("5")"},
      {"---\na: b\n...\n", R"({"a":"b"})"},
      {"a: &x [1, {b: 2}]\nc: *x\nd: [*x]",
       R"({"a":[1,{"b":2}],"c":[1,{"b":2}],"d":[[1,{"b":2}]]})"},
      {"&k key: v\nw: *k", R"({"key":"v","w":"key"})"},
      {"a: &x b\n*x : c", R"({"a":"b","b":"c"})"},
      {"a: &x 1\nb: &x 2\nc: *x", R"({"a":1,"b":2,"c":2})"},
      {"a: &n\nb: *n", R"({"a":null,"b":null})"},
  };
  for (const auto& row : rows) {
    const auto document = ParseYaml(row.yaml);
    ASSERT_TRUE(document.ok()) << row.yaml << ": " << document.status();
    EXPECT_EQ(DumpJson(*document), row.json) << row.yaml;
  }
}

TEST(Yaml, WhatIsWrongIsSaidWithItsPlace) {
  const struct {
    const char* text;
    const char* words;
  } rows[] = {
      {"a: [b", "line 1, column"},
      {"a: b\nc: d\na: e", "line 3, column 1: \"a\" occurs twice"},
      {"[a]: b", "line 1, column 1: a key must be text"},
      {"{a: b}: c", "a key must be text"},
      {"? ~\n: c", "a key must be text"},
      {"a: &x [b]\n*x : c", "line 2, column 1: a key must be text"},
      {"a: *x", "line 1, column"},
      {"a: b\n---\nc: d", "more than one YAML document"},
      {"", "no YAML document"},
      {"# nothing", "no YAML document"},
  };
  for (const auto& row : rows) EXPECT_THAT(ProblemWith(row.text), HasSubstr(row.words)) << row.text;
}

TEST(Yaml, LimitsHoldForWhatIsWritten) {
  EXPECT_EQ(ProblemWith("[a, b, c]", {.max_values = 4}), "none");
  EXPECT_THAT(ProblemWith("[a, b, c]", {.max_values = 3}), HasSubstr("too many values"));
  EXPECT_EQ(ProblemWith("[[[a]]]", {.max_depth = 4}), "none");
  EXPECT_THAT(ProblemWith("[[[a]]]", {.max_depth = 3}), HasSubstr("nested too deep"));
  EXPECT_THAT(ProblemWith("[a, b, c]", {.max_bytes = 8}), HasSubstr("larger than 8 bytes"));
  EXPECT_THAT(ProblemWith(std::string(1 << 20, '[')), HasSubstr("line 1"));
}

TEST(Yaml, AliasesCountAsOftenAsTheyAreUsed) {
  EXPECT_THAT(ProblemWith("a: &x [1, 2]\nb: [*x, *x, *x, *x]", {.max_values = 20}),
              HasSubstr("line 2, column 17: too many values"));
  EXPECT_THAT(ProblemWith("a: &x [[1]]\nb: [[*x]]", {.max_depth = 5}),
              HasSubstr("line 2, column 6: nested too deep"));
}

TEST(Yaml, AnAliasInsideWhatItNamesIsRefused) {
  EXPECT_THAT(ProblemWith("a: &a [x, *a, *a]"), HasSubstr("line 1, column 11: an alias inside"));
  EXPECT_THAT(ProblemWith("&a {b: *a}"), HasSubstr("an alias inside"));
}

TEST(Yaml, AliasesOfLongTextAreBounded) {
  std::string text = absl::StrCat("a: &a ", std::string(20'000, 'x'), "\nb: [*a");
  for (int i = 0; i < 4'000; ++i) absl::StrAppend(&text, ", *a");
  EXPECT_THAT(ProblemWith(absl::StrCat(text, "]")), HasSubstr("too much text"));
  // As keys, too.
  text = absl::StrCat("k: &a ", std::string(20'000, 'x'), "\nb: [{*a : 1}");
  for (int i = 0; i < 4'000; ++i) absl::StrAppend(&text, ", {*a : 1}");
  EXPECT_THAT(ProblemWith(absl::StrCat(text, "]")), HasSubstr("too much text"));
}

// What is named is kept beside the document: names around names cost as aliases do.
TEST(Yaml, NamesInsideNamesAreBounded) {
  std::string text;
  for (int i = 0; i < 40; ++i) absl::StrAppend(&text, "&n", i, " [");
  absl::StrAppend(&text, std::string(200'000, 'x'), std::string(40, ']'));
  EXPECT_THAT(ProblemWith(text), HasSubstr("too much text"));
}

}  // namespace
}  // namespace gantry::cdi
