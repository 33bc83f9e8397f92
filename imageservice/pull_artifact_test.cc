// Pulls of artifacts, for volumes: through the real puller and unpackers.
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#define JSON_NO_IO
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"

#include "imageservice/digester.h"
#include "imageservice/testing_pull.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr char kManifestType[] = "application/vnd.oci.image.manifest.v1+json";

class ArtifactPull : public PullTest {
 protected:
  void TearDown() override { server_.reset(); }

  // What a manifest says of a blob that the registry has.
  Json AddBlob(const std::string& type, const std::string& bytes, const std::string& title = "") {
    const std::string digest = *DigestOf(bytes);
    memory_.AddBlob(digest, bytes);
    Json layer = {{"mediaType", type}, {"digest", digest}, {"size", bytes.size()}};
    if (!title.empty()) layer["annotations"] = {{"org.opencontainers.image.title", title}};
    return layer;
  }
  Json AddCompressedTar(const std::string& tar, TestCompression compression) {
    TestImage image;
    image.AddLayer(tar, compression);
    return AddBlob(image.layers()[0].media_type, image.layers()[0].bytes);
  }
  // Returns the digest of the manifest.
  std::string AddArtifact(const std::string& tag, const std::vector<Json>& layers) {
    const Json manifest = {{"schemaVersion", 2},
                           {"mediaType", kManifestType},
                           {"artifactType", "application/vnd.acme.model"},
                           {"config",
                            {{"mediaType", "application/vnd.oci.empty.v1+json"},
                             {"digest", *DigestOf("{}")},
                             {"size", 2},
                             {"data", "e30="}}},
                           {"layers", layers}};
    TestImage::Blob blob{"", manifest.dump(), kManifestType};
    blob.digest = *DigestOf(blob.bytes);
    memory_.AddManifest("team/model", tag, blob);
    return blob.digest;
  }
  std::string Name(const std::string& tag) {
    if (server_ == nullptr) {
      server_ = std::make_unique<TestServer>(
          [this](const TestRequest& request) { return memory_.Answer(request); });
    }
    return absl::StrCat(server_->host(), "/team/model:", tag);
  }
  std::string Explained(const std::string& tag) {
    PullRequest request;
    request.reference = Name(tag);
    const auto explanation = puller_->Explain(request);
    if (!explanation.ok()) return explanation.status().ToString();
    std::string text = explanation->outcome.ToString() + "\n";
    for (const ExplainedDecision& decision : explanation->decisions)
      absl::StrAppend(&text, decision.subject, ": ", decision.text, "\n");
    for (const ExplainedLayer& layer : explanation->layers)
      absl::StrAppend(&text, layer.digest, layer.present ? " present\n" : " absent\n");
    return text;
  }

  MemoryRegistry memory_;
  std::unique_ptr<TestServer> server_;
};

TEST_F(ArtifactPull, TarsAreUnpackedByWhateverVendor) {
  const std::string digest =
      AddArtifact("1", {AddBlob("application/vnd.acme.model.v1.tar",
                                TarArchive().File("model/weights", "0123").Finish())});
  const auto pulled = Pull(Name("1"));
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ((*pulled)->id, digest) << "many artifacts share the empty configuration";
  EXPECT_EQ(FileIn(**pulled, 0, "model/weights"), "0123");
  EXPECT_THAT(Explained("1"), HasSubstr("kind: artifact application/vnd.acme.model"));
}

TEST_F(ArtifactPull, CompressedTarsNeedNotSayWhatTheyUnpackTo) {
  const std::string tar = TarArchive().File("f", "content").Finish();
  for (const TestCompression compression : {TestCompression::kGzip, TestCompression::kZstd}) {
    const std::string tag = compression == TestCompression::kGzip ? "gzip" : "zstd";
    const std::string digest = AddArtifact(tag, {AddCompressedTar(tar, compression)});
    const auto pulled = Pull(Name(tag));
    ASSERT_TRUE(pulled.ok()) << pulled.status();
    EXPECT_EQ((*pulled)->diff_ids.at(0), *DigestOf(tar)) << "as it was found to be";
    EXPECT_EQ(FileIn(**pulled, 0, "f"), "content");
    const auto again = Pull(Name(tag));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ((*again)->id, digest);
  }
}

TEST_F(ArtifactPull, OtherBlobsAreFilesUnderTheirTitles) {
  const std::string weights(3 << 20, 'w');
  const std::string long_name = std::string(120, 'd') + "/" + std::string(200, 'n');
  const std::string type = "application/vnd.acme.weights";
  const Json bare = AddBlob(type, "without a title");
  AddArtifact("raw", {AddBlob(type, weights, "weights.bin"), AddBlob(type, weights, long_name),
                      AddBlob("text/plain", "", "empty"), bare,
                      AddBlob("application/vnd.oci.empty.v1+json", "{}")});
  const auto pulled = Pull(Name("raw"));
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  ASSERT_EQ((*pulled)->layers.size(), 4u);
  EXPECT_EQ(FileIn(**pulled, 0, "weights.bin"), weights);
  EXPECT_EQ(FileIn(**pulled, 1, long_name), weights) << "the same blob, another name";
  EXPECT_TRUE(std::filesystem::is_empty(
      std::filesystem::path(store_->LayerPath((*pulled)->layers[2])) / "empty"));
  const std::string digest = bare["digest"];
  EXPECT_EQ(FileIn(**pulled, 3, digest.substr(digest.find(':') + 1)), "without a title");
  const std::string explained = Explained("raw");
  EXPECT_THAT(explained, HasSubstr(absl::StrCat("weights.bin is ", *DigestOf(weights))));
  EXPECT_THAT(explained, HasSubstr((*pulled)->layers[0] + " present"));
}

TEST_F(ArtifactPull, AFileCannotTakeThePlaceOfAnImagesLayer) {
  const std::string tar = TarArchive().File("bin/sh", "true").Finish();
  TestImage image;
  image.AddLayer(tar, TestCompression::kNone);
  AddArtifact("hostile", {AddBlob("text/plain", tar, "bin/sh")});
  memory_.Add("team/app", "1", image);
  const auto artifact = Pull(Name("hostile"));
  ASSERT_TRUE(artifact.ok()) << artifact.status();
  const auto pulled = Pull(server_->host() + "/team/app:1");
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(FileIn(**artifact, 0, "bin/sh"), tar);
  EXPECT_EQ(FileIn(**pulled, 0, "bin/sh"), "true");
}

TEST_F(ArtifactPull, WrongBytesAreFoundOutAndLeaveNothing) {
  const Json layer = AddBlob("text/plain", "right", "f");
  memory_.SpoilBlob(layer["digest"], "wrong");
  AddArtifact("spoilt", {layer});
  EXPECT_EQ(Pull(Name("spoilt")).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(store_->List().empty());
}

TEST_F(ArtifactPull, ATitleThatLeadsOutIsRefusedBeforeAByteComes) {
  const Json layer = AddBlob("text/plain", "x", "../../etc/passwd");
  AddArtifact("traversal", {layer});
  const Status status = Pull(Name("traversal")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("cannot be a file's name"));
}

TEST_F(ArtifactPull, WithoutLayersItIsUnimplemented) {
  AddArtifact("nothing", {});
  const Status status = Pull(Name("nothing")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("it has no layers"));
}

}  // namespace
}  // namespace gantry::images
