#include "imageservice/pull_explanation.h"

#include <string>

#include "gtest/gtest.h"

namespace gantry::images {
namespace {

const std::string kDigest = "sha256:" + std::string(64, 'a');

TEST(PullExplanation, SurvivesTheWay) {
  PullExplanation made;
  made.decisions = {{"reference", "docker.io/library/a:1"}, {"hosts", "none"}};
  made.layers = {{kDigest, "application/x-tar", 7, false}};
  made.outcome = absl::NotFoundError("why");
  const auto read = DecodeExplanation(EncodeExplanation(made));
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->decisions.size(), 2u);
  EXPECT_EQ(read->decisions[1].subject, "hosts");
  EXPECT_EQ(read->decisions[0].text, "docker.io/library/a:1");
  EXPECT_EQ(read->layers.at(0).size, 7u);
  EXPECT_EQ(read->layers.at(0).media_type, "application/x-tar");
  EXPECT_EQ(read->outcome, absl::NotFoundError("why"));
  EXPECT_TRUE(DecodeExplanation(EncodeExplanation({}))->outcome.ok());
}

TEST(PullExplanation, AConqueredPullerCannotSendEscapesOrPaths) {
  const auto escape = DecodeExplanation(
      R"({"decisions":[{"subject":"a\u001b[2J","text":"b\nc"}],"code":99,"message":"m\u0007"})");
  ASSERT_TRUE(escape.ok()) << escape.status();
  EXPECT_EQ(escape->decisions[0].subject, "a [2J");
  EXPECT_EQ(escape->decisions[0].text, "b c");
  EXPECT_EQ(escape->outcome, absl::InternalError("m "));
  std::string many = R"({"decisions":[{})";
  for (int i = 0; i < 1000; ++i) many += ",{}";
  many += "]}";
  for (const std::string& text : {std::string("[]"), std::string("x"), std::string(),
                                  std::string(R"({"layers":[{"digest":"../x"}]})"),
                                  std::string(R"({"layers":[{"size":-1}]})"), many}) {
    EXPECT_FALSE(DecodeExplanation(text).ok()) << text.substr(0, 80);
  }
}

}  // namespace
}  // namespace gantry::images
