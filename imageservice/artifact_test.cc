#include "imageservice/artifact.h"

#include <set>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "imageservice/reference.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;

const std::string kDigest = "sha256:" + std::string(64, 'a');
const std::string kInner = "sha256:" + std::string(64, 'b');

Descriptor Layer(const std::string& type, const std::string& uncompressed = "") {
  Descriptor layer;
  layer.media_type = type;
  layer.digest = kDigest;
  layer.uncompressed = uncompressed;
  return layer;
}

TEST(Artifact, TarTypesAreKnownOfAnyVendor) {
  for (const std::string type :
       {"application/x-tar", "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.acme.model.v1.tar",
        "application/vnd.acme.model.v1+tar", "application/vnd.acme.model.v1.tar.gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd", "tar"}) {
    EXPECT_TRUE(IsTarType(type)) << type;
  }
  for (const std::string type :
       {"", "application/octet-stream", "application/guitar", "application/vnd.acme.star+gzip",
        "application/json", "text/plain", "application/vnd.oci.image.layer.v1.tar+encrypted"}) {
    EXPECT_FALSE(IsTarType(type)) << type;
  }
}

StatusOr<std::vector<ArtifactLayer>> LayersOf(std::vector<Descriptor> layers) {
  ImageManifest manifest;
  manifest.artifact_type = "application/vnd.acme.model";
  manifest.layers = std::move(layers);
  return ArtifactLayers(manifest);
}

TEST(Artifact, TarsAreKeptByTheirBlobs) {
  const std::string type = "application/vnd.oci.image.layer.v1.tar+gzip";
  const auto layers =
      LayersOf({Layer("application/x-tar"), Layer(type, kInner), Layer(type, "sha512:x")});
  ASSERT_TRUE(layers.ok()) << layers.status();
  ASSERT_EQ(layers->size(), 3u);
  EXPECT_EQ((*layers)[0].diff_id, kDigest);
  EXPECT_EQ((*layers)[1].diff_id, kInner);
  EXPECT_EQ((*layers)[2].diff_id, "") << "nothing that could be compared";
  for (const ArtifactLayer& layer : *layers) {
    EXPECT_EQ(layer.key, kDigest);
    EXPECT_EQ(layer.file, "");
  }
}

TEST(Artifact, AnythingElseIsAFileUnderItsTitle) {
  Descriptor named = Layer("application/vnd.acme.weights"), other = named;
  named.title = "./model//weights.bin";
  other.title = "weights.bin";
  const auto layers = LayersOf({named, other, Layer("application/octet-stream"), named});
  ASSERT_TRUE(layers.ok()) << layers.status();
  EXPECT_EQ((*layers)[0].file, "model/weights.bin");
  EXPECT_EQ((*layers)[1].file, "weights.bin");
  EXPECT_EQ((*layers)[2].file, std::string(64, 'a')) << "without a title";
  EXPECT_EQ((*layers)[0].key, (*layers)[3].key) << "one layer in the store";
  std::set<std::string> keys;
  for (const ArtifactLayer& layer : *layers) {
    keys.insert(layer.key);
    EXPECT_TRUE(IsDigest(layer.key));
    EXPECT_EQ(layer.diff_id, "");
    EXPECT_EQ(layer.blob.digest, kDigest);
  }
  EXPECT_EQ(keys.size(), 3u) << "same bytes, other names: other layers";
  EXPECT_FALSE(keys.contains(kDigest)) << "no file can take the place of an image's layer";
}

TEST(Artifact, TitlesThatAreNoNamesOfFilesAreRefused) {
  for (const std::string title :
       {"../x", "/", ".", "a/../..", ".wh.x", "d/.wh..wh..opq", ".wh..wh.aufs", "a/.wh.x"}) {
    Descriptor layer = Layer("text/plain");
    layer.title = title;
    const Status status = LayersOf({layer}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << title;
    EXPECT_THAT(std::string(status.message()), HasSubstr(kDigest));
  }
}

TEST(Artifact, WithoutLayersItIsUnimplemented) {
  EXPECT_EQ(LayersOf({}).status().code(), absl::StatusCode::kUnimplemented);
  const Status empty = LayersOf({Layer("application/vnd.oci.empty.v1+json")}).status();
  EXPECT_EQ(empty.code(), absl::StatusCode::kUnimplemented) << "a placeholder is no layer";
}

}  // namespace
}  // namespace gantry::images
