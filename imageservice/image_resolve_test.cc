// The way from a reference to a manifest, against registries that have odd and bad documents.
#include "imageservice/image_resolve.h"

#include <string>
#include <utility>
#include <vector>

#define JSON_NO_IO
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "imageservice/digester.h"
#include "imageservice/tar_archive.h"
#include "imageservice/testing_client.h"
#include "imageservice/testing_registry.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr char kIndexType[] = "application/vnd.oci.image.index.v1+json";
constexpr char kManifestType[] = "application/vnd.oci.image.manifest.v1+json";

TestImage::Blob Document(const Json& json, const std::string& type) {
  TestImage::Blob blob{"", json.dump(), type};
  blob.digest = *DigestOf(blob.bytes);
  return blob;
}

Json Entry(const TestImage::Blob& blob) {
  return {{"mediaType", blob.media_type}, {"digest", blob.digest}, {"size", blob.bytes.size()}};
}

Json EntryFor(const TestImage::Blob& blob, const std::string& architecture,
              const std::string& variant = "") {
  Json entry = Entry(blob);
  entry["platform"] = {{"os", "linux"}, {"architecture", architecture}};
  if (!variant.empty()) entry["platform"]["variant"] = variant;
  return entry;
}

TestImage::Blob Index(const std::vector<Json>& entries) {
  return Document({{"schemaVersion", 2}, {"mediaType", kIndexType}, {"manifests", entries}},
                  kIndexType);
}

TestImage ImageOf(const std::string& content) {
  return std::move(TestImage().AddLayer(TarArchive().File("f", content).Finish()));
}

class Resolving : public ::testing::Test {
 protected:
  StatusOr<ResolvedImage> Resolve(const TestImage::Blob& top) {
    memory_.AddManifest("a/b", "1", top);
    HttpClient client;
    return ResolveImage(*MakeClient(server_.host()), client);
  }
  // What is chosen when the registry has `top`, with its manifests.
  std::string Chosen(const TestImage::Blob& top) {
    const auto resolved = Resolve(top);
    return resolved.ok() ? resolved->manifest_digest : std::string(resolved.status().message());
  }
  TestImage::Blob Known(const TestImage::Blob& manifest) {
    memory_.AddManifest("a/b", "", manifest);
    return manifest;
  }
  MemoryRegistry memory_;
  TestServer server_{[this](const TestRequest& request) { return memory_.Answer(request); }};
  const std::string here_ = NodePlatform().architecture;
};

TEST_F(Resolving, AManifestAloneIsTakenAndItsStepsAreNoted) {
  const TestImage::Blob manifest = ImageOf("x").Manifest();
  const auto resolved = Resolve(manifest);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->digest, manifest.digest);
  EXPECT_EQ(resolved->manifest_digest, manifest.digest);
  ASSERT_EQ(resolved->steps.size(), 1u);
  EXPECT_THAT(resolved->steps[0].from, HasSubstr(server_.host() + "/v2/a/b/manifests/1"));
}

TEST_F(Resolving, NestedIndexesLeadToTheManifestAndOnesWithoutAMatchArePassedOver) {
  const TestImage::Blob wanted = Known(ImageOf("wanted").Manifest());
  const TestImage::Blob foreign = Known(ImageOf("foreign").Manifest());
  const TestImage::Blob none = Known(Index({EntryFor(foreign, "s390x")}));
  const TestImage::Blob some = Known(Index({EntryFor(foreign, "s390x"), EntryFor(wanted, here_)}));
  const auto resolved = Resolve(Index({Entry(none), Entry(some)}));
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->manifest_digest, wanted.digest);
  ASSERT_EQ(resolved->steps.size(), 3u);
  EXPECT_EQ(resolved->steps[1].digest, some.digest);
  EXPECT_TRUE(resolved->steps[1].index);
  EXPECT_EQ(resolved->steps[2].platform.architecture, here_);
  const Status status = Resolve(Index({Entry(none)})).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Text(status), HasSubstr("linux/s390x"));
}

TEST_F(Resolving, IndexesInIndexesAreBounded) {
  TestImage::Blob deep = Known(ImageOf("x").Manifest());
  for (int i = 0; i < kMaxIndexDepth; ++i) deep = Known(Index({Entry(deep)}));
  EXPECT_TRUE(Resolve(deep).ok());
  deep = Known(deep);
  EXPECT_THAT(Text(Resolve(Index({Entry(deep)})).status()), HasSubstr("more than 4 deep"));
  std::vector<Json> many;
  for (int i = 0; i < 100; ++i) {
    const TestImage::Blob foreign = ImageOf(absl::StrCat(i)).Manifest();
    many.push_back(Entry(Known(Index({EntryFor(foreign, "s390x")}))));
  }
  EXPECT_THAT(Text(Resolve(Index(many)).status()), HasSubstr("more than 32 documents"));
}

TEST_F(Resolving, AttestationsAndForeignTypesAreNoImages) {
  const TestImage::Blob wanted = Known(ImageOf("wanted").Manifest());
  const TestImage::Blob other = Known(ImageOf("attestation").Manifest());
  Json unknown = Entry(other);
  unknown["platform"] = {{"os", "unknown"}, {"architecture", "unknown"}};
  Json annotated = Entry(other);
  annotated["annotations"] = {{"vnd.docker.reference.type", "attestation-manifest"}};
  Json foreign = Entry(other);
  foreign["mediaType"] = "application/vnd.acme.other+json";
  Json featured = EntryFor(other, here_);
  featured["platform"]["os.features"] = {"win32k"};
  EXPECT_EQ(Chosen(Index({unknown, annotated, foreign, featured, EntryFor(wanted, here_)})),
            wanted.digest);
  EXPECT_EQ(Chosen(Index({annotated, foreign, Entry(wanted)})), wanted.digest);
  EXPECT_THAT(Chosen(Index({unknown, annotated, foreign})), HasSubstr("no image for"));
}

TEST_F(Resolving, ContentInDescriptorsIsUsedWhenItsDigestIsRight) {
  const TestImage image = ImageOf("x");
  const TestImage::Blob manifest = image.Manifest();
  Json entry = EntryFor(manifest, here_);
  entry["data"] = absl::Base64Escape(manifest.bytes);
  const auto resolved = Resolve(Index({entry}));
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->manifest_digest, manifest.digest);
  EXPECT_EQ(server_.requests().size(), 1u) << "the manifest came with the index";
  std::string wrong = manifest.bytes;
  wrong[0] = ' ';
  entry["data"] = absl::Base64Escape(wrong);
  EXPECT_EQ(Resolve(Index({entry})).status().code(), absl::StatusCode::kDataLoss);
  for (const std::string bad : {"!!", "YWJj"}) {
    entry["data"] = bad;
    EXPECT_EQ(Resolve(Index({entry})).status().code(), absl::StatusCode::kInvalidArgument);
  }
  Descriptor config;
  config.digest = image.Config().digest;
  config.data = image.Config().bytes;
  config.size = config.data.size();
  HttpClient client;
  const size_t asked = server_.requests().size();
  EXPECT_EQ(*FetchContent(*MakeClient(server_.host()), client, config, 1 << 20), config.data);
  config.data[3] = '?';
  EXPECT_EQ(FetchContent(*MakeClient(server_.host()), client, config, 1 << 20).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(server_.requests().size(), asked);
}

TEST_F(Resolving, CVE_2021_41190_Row76_ADocumentOfTwoKindsIsRefusedByAnyName) {
  const TestImage::Blob manifest = Known(ImageOf("x").Manifest());
  Json both = Json::parse(manifest.bytes);
  both["manifests"] = {EntryFor(manifest, here_)};
  for (const std::string type : {kManifestType, kIndexType, ""}) {
    both["mediaType"] = type;
    const Status status = Resolve(Document(both, type)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << type;
    EXPECT_THAT(Text(status), HasSubstr("at once"));
  }
  // The same bytes, called a manifest by the one and an index by the other.
  const Status renamed = Resolve({manifest.digest, manifest.bytes, kIndexType}).status();
  EXPECT_EQ(renamed.code(), absl::StatusCode::kInvalidArgument) << renamed;
}

TEST_F(Resolving, CVE_2024_3727_DigestsAreCheckedBeforeAnythingIsAskedForByThem) {
  for (const std::string digest :
       {"sha256:../../../other/repository/manifests/x", "sha256:", "md5:0123",
        "sha256:ABCDEFabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcd", "?x=y"}) {
    Json entry = {{"mediaType", kManifestType}, {"digest", digest}, {"size", 5}};
    const Status status = Resolve(Index({entry})).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << digest;
  }
  for (const TestRequest& request : server_.requests())
    EXPECT_EQ(request.path, "/v2/a/b/manifests/1");
}

TEST_F(Resolving, CVE_2024_3727_AnEntryIsWhatItsDigestAndSizeSay) {
  const TestImage::Blob manifest = ImageOf("x").Manifest();
  TestImage::Blob spoilt = manifest;
  spoilt.bytes[0] = ' ';
  memory_.AddManifest("a/b", "", spoilt);
  EXPECT_EQ(Resolve(Index({EntryFor(manifest, here_)})).status().code(),
            absl::StatusCode::kDataLoss);
  Known(manifest);
  Json entry = EntryFor(manifest, here_);
  entry["size"] = manifest.bytes.size() + 1;
  EXPECT_EQ(Resolve(Index({entry})).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(Resolving, CVE_2023_25153_CVE_2020_1702_DocumentsOverTheLimitAreNotReadToTheirEnd) {
  const Status status =
      Resolve({*DigestOf("x"), std::string(kMaxManifestBytes + 1, ' '), kManifestType}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
}

TEST_F(Resolving, ArtifactsAndSchemaOneAreTold) {
  Json artifact = Json::parse(ImageOf("x").Manifest().bytes);
  artifact["config"]["mediaType"] = "application/vnd.oci.empty.v1+json";
  artifact["artifactType"] = "application/vnd.acme.model";
  artifact["layers"][0]["mediaType"] = "application/vnd.acme.weights";
  const auto resolved = Resolve(Document(artifact, kManifestType));
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->manifest.artifact_type, "application/vnd.acme.model");
  const Status old = Resolve(Document({{"schemaVersion", 1}, {"fsLayers", Json::array()}},
                                      "application/vnd.docker.distribution.manifest.v1+prettyjws"))
                         .status();
  EXPECT_EQ(old.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Text(old), HasSubstr("push the image again"));
}

}  // namespace
}  // namespace gantry::images
