#include "imageservice/pull_policy.h"

#include <string>

#include "gtest/gtest.h"

#include "imageservice/digester.h"

namespace gantry::images {
namespace {

TEST(PullPolicy, AllowsWhatTheReferenceNames) {
  const std::string bytes = "a manifest", from = "https://reg.example/v2/a/manifests/1";
  const std::string digest = *DigestOf(bytes), sha512 = *DigestOf(bytes, "sha512");
  const Reference tagged = *ParseReference("reg.example/a:1");
  const Reference exact = *ParseReference("reg.example/a:1@" + digest);
  EXPECT_TRUE(CheckPullPolicy({tagged, digest, bytes, from}).ok());
  EXPECT_TRUE(CheckPullPolicy({tagged, sha512, bytes, from}).ok());
  EXPECT_TRUE(CheckPullPolicy({exact, digest, bytes, from}).ok());
}

TEST(PullPolicy, CVE_2024_3727_RefusesWhatHasAnotherDigestOrNone) {
  const std::string bytes = "a manifest", other = "another", from = "https://reg.example/";
  const std::string digest = *DigestOf(bytes), wrong = *DigestOf(other);
  const Reference tagged = *ParseReference("reg.example/a:1");
  const Reference exact = *ParseReference("reg.example/a@" + wrong);
  EXPECT_EQ(CheckPullPolicy({tagged, wrong, bytes, from}).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(CheckPullPolicy({exact, digest, bytes, from}).code(), absl::StatusCode::kDataLoss);
  for (const std::string none : {"", "sha256:../../etc/passwd", "md5:00"})
    EXPECT_FALSE(CheckPullPolicy({tagged, none, bytes, from}).ok()) << none;
}

}  // namespace
}  // namespace gantry::images
