#include "imageservice/artifact.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::images {
namespace {

using ::testing::ElementsAre;
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

TEST(Artifact, LayersOfTarCanBeMounted) {
  ImageManifest manifest;
  manifest.artifact_type = "application/vnd.acme.model";
  manifest.layers = {Layer("application/x-tar"),
                     Layer("application/vnd.oci.image.layer.v1.tar+gzip", kInner)};
  const auto diff_ids = ArtifactDiffIds(manifest);
  ASSERT_TRUE(diff_ids.ok()) << diff_ids.status();
  EXPECT_THAT(*diff_ids, ElementsAre(kDigest, kInner));
}

TEST(Artifact, WhatCannotBeMountedIsUnimplementedWithAReason) {
  const struct {
    std::string type, reason;
  } rows[] = {{"application/octet-stream", "is application/octet-stream, not a tar"},
              {"", "is of no type, not a tar"},
              {"application/vnd.oci.image.layer.v1.tar+gzip", "what it unpacks to"}};
  for (const auto& row : rows) {
    ImageManifest manifest;
    manifest.layers = {Layer(row.type)};
    const Status status = ArtifactDiffIds(manifest).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.reason));
    EXPECT_THAT(std::string(status.message()), HasSubstr(kDigest));
  }
  EXPECT_EQ(ArtifactDiffIds({}).status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace gantry::images
