#include "imageservice/reference.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace gantry::images {
namespace {

const std::string kHex(64, 'a');
const std::string kDigest = "sha256:" + kHex;

TEST(Reference, IsNormalisedAsDockerDoes) {
  const struct {
    std::string description, text, normal;
  } rows[] = {
      {"short name", "busybox", "docker.io/library/busybox:latest"},
      {"tag", "busybox:1.36", "docker.io/library/busybox:1.36"},
      {"user repository", "nvidia/cuda:12.4", "docker.io/nvidia/cuda:12.4"},
      {"old name of docker.io", "index.docker.io/busybox", "docker.io/library/busybox:latest"},
      {"registry with port", "localhost:5000/a/b", "localhost:5000/a/b:latest"},
      {"localhost without port", "localhost/a", "localhost/a:latest"},
      {"upper case makes a registry", "Reg/a:T_1.x-y", "Reg/a:T_1.x-y"},
      {"IPv6", "[::1]:5000/a", "[::1]:5000/a:latest"},
      {"digest", "quay.io/a/b@" + kDigest, "quay.io/a/b@" + kDigest},
      {"tag and digest", "quay.io/a/b:1@" + kDigest, "quay.io/a/b:1@" + kDigest},
      {"separators", "a__b/c.d/e---f/g_h", "docker.io/a__b/c.d/e---f/g_h:latest"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.description);
    const StatusOr<Reference> reference = ParseReference(row.text);
    ASSERT_TRUE(reference.ok()) << reference.status();
    EXPECT_EQ(reference->ToString(), row.normal);
    EXPECT_EQ(ParseReference(row.normal)->ToString(), row.normal);
  }
}

TEST(Reference, BadOnesAreRefusedWithAReason) {
  const std::string rows[] = {
      "",
      ":tag",
      "@" + kDigest,
      "a@sha256:" + std::string(63, 'a'),
      kHex,
      "UPPER",
      "a/../b",
      "a//b",
      "a/",
      "/a",
      "a:",
      "a:.x",
      "a:b:c",
      "a b",
      "a\nb",
      "a@sha256:" + std::string(64, 'A'),
      "a@md5:00",
      "reg:x/a",
      "a___b",
      "a..b",
      "-a",
      "a-",
      "http://reg/a",
      std::string(2000, 'a'),
      "a?ns=b",
      "a%2e/b",
      "re_g.io/a",
      "a:" + std::string(129, 't'),
      "[::1/a",
      "[zz]/a",
      "a@" + kDigest + "x",
      std::string(300, 'a'),
      "x@y@z",
      "a/b\xff",
      "localhost:99999999/a",
  };
  for (const std::string& row : rows) {
    const StatusOr<Reference> reference = ParseReference(row);
    ASSERT_FALSE(reference.ok()) << row;
    EXPECT_EQ(reference.status().code(), absl::StatusCode::kInvalidArgument) << row;
    EXPECT_EQ(reference.status().message().find('\n'), absl::string_view::npos);
  }
}

TEST(Digest, OnlyTheTwoAlgorithmsInLowerCaseHex) {
  EXPECT_TRUE(IsDigest(kDigest));
  EXPECT_TRUE(IsDigest("sha512:" + kHex + kHex));
  for (const std::string& text :
       {std::string(), kHex, "sha256:" + kHex + "a", "sha512:" + kHex, "SHA256:" + kHex,
        "sha256-" + kHex, "sha256:../" + std::string(61, 'a'), "md5:" + std::string(32, 'a'),
        kDigest + "\n"}) {
    EXPECT_FALSE(IsDigest(text)) << text;
    EXPECT_EQ(CheckDigest(text).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(DigestFileName(kDigest), "sha256-" + kHex);
}

}  // namespace
}  // namespace gantry::images
