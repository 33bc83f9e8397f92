// Pulls from Debian's docker-registry on loopback.
#include "gmock/gmock.h"

#include "imageservice/testing_pull.h"

namespace gantry::images {
namespace {

using ::testing::ElementsAre;

class RealRegistry : public PullTest {
 protected:
  void SetUp() override {
    PullTest::SetUp();
    if (IsSkipped()) return;
    std::filesystem::create_directories(directory_ / "registry");
    auto registry = DockerRegistry::Start((directory_ / "registry").string());
    if (absl::IsUnimplemented(registry.status())) GTEST_SKIP() << registry.status().message();
    ASSERT_TRUE(registry.ok()) << registry.status();
    registry_ = *std::move(registry);
  }
  void TearDown() override { registry_.reset(); }
  std::unique_ptr<DockerRegistry> registry_;
};

TEST_F(RealRegistry, ServesImagesByTagDigestAndIndex) {
  TestImage image;
  image.AddLayer(TarWithFile("big", 20'000'000))
      .AddLayer(TarArchive().File("z", "zstd").Finish(), TestCompression::kZstd)
      .AddLayer(TarArchive().File("p", "plain").Finish(), TestCompression::kNone);
  Status pushed = registry_->Push("team/app", "1", image);
  ASSERT_TRUE(pushed.ok()) << pushed;
  const std::string name = registry_->host() + "/team/app";
  const auto pulled = Pull(name + ":1");
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ((*pulled)->id, image.Config().digest);
  EXPECT_THAT((*pulled)->repo_digests, ElementsAre(name + "@" + image.Manifest().digest));
  EXPECT_EQ(FileIn(**pulled, 0, "big").size(), 20'000'000u);
  EXPECT_EQ(FileIn(**pulled, 1, "z"), "zstd");
  ASSERT_TRUE(store_->Remove(name + ":1").ok());
  store_->FlushDeletions();
  EXPECT_TRUE(store_->List().empty());

  const TestImage::Blob index =
      TestIndex({{"amd64", image.Manifest()}, {"arm64", image.Manifest()}});
  pushed = registry_->PushManifest("team/app", "multi", index);
  ASSERT_TRUE(pushed.ok()) << pushed;
  const auto again = Pull(name + ":multi@" + index.digest);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_THAT((*again)->repo_digests, ElementsAre(name + "@" + index.digest));
  EXPECT_EQ(Pull(name + ":none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Pull(registry_->host() + "/other/app:1").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace gantry::images
