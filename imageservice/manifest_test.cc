#include "imageservice/manifest.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::images {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kDigest = "sha256:" + std::string(64, 'a');

std::string Entry(const std::string& platform, char digit) {
  return absl::StrCat(
      R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","size":7,"digest":"sha256:)",
      std::string(64, digit), R"(","platform":)", platform, "}");
}

std::string Layer(const std::string& type) {
  return absl::StrCat(R"({"mediaType":")", type, R"(","size":5,"digest":")", kDigest, "\"}");
}

std::string Manifest(const std::string& config_type, const std::string& layers) {
  return absl::StrCat(R"({"schemaVersion":2,"config":{"mediaType":")", config_type,
                      R"(","size":9,"digest":")", kDigest, R"("},"layers":[)", layers, "]}");
}

constexpr char kConfigType[] = "application/vnd.oci.image.config.v1+json";
constexpr char kLayerType[] = "application/vnd.oci.image.layer.v1.tar+gzip";

TEST(Manifest, OciAndDockerFormsAreRead) {
  for (const auto& [config, layer] :
       {std::pair<std::string, std::string>{kConfigType, kLayerType},
        {"application/vnd.docker.container.image.v1+json",
         "application/vnd.docker.image.rootfs.diff.tar.gzip"},
        {"application/octet-stream",
         "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"}}) {
    const auto document =
        ParseManifest(Manifest(config, Layer(layer) + "," + Layer(layer)), "text/plain");
    ASSERT_TRUE(document.ok()) << document.status();
    const auto& manifest = std::get<ImageManifest>(*document);
    EXPECT_EQ(manifest.config.size, 9u);
    EXPECT_EQ(manifest.layers.size(), 2u);
    EXPECT_EQ(manifest.layers[0].digest, kDigest);
  }
}

TEST(Manifest, CVE_2021_21285_BadDocumentsAreRefusedWithAReason) {
  const struct {
    std::string description, text, type, reason;
  } rows[] = {
      {"no JSON", "<html>", "", "manifest"},
      {"array", "[]", "", "object"},
      {"empty", "{}", "", "neither"},
      {"both (CVE-2021-41190)", R"({"schemaVersion":2,"layers":[],"manifests":[]})", "", "at once"},
      {"both, by config", R"({"schemaVersion":2,"config":{},"manifests":[]})", "", "at once"},
      {"schema 1", R"({"schemaVersion":1,"fsLayers":[]})", "", "schema 1"},
      {"schema 1 by type", R"({"fsLayers":[]})",
       "application/vnd.docker.distribution.manifest.v1+prettyjws", "schema 1"},
      {"another schema", R"({"schemaVersion":3,"layers":[]})", "", "schemaVersion 3"},
      {"index called manifest", R"({"schemaVersion":2,"manifests":[]})",
       "application/vnd.oci.image.manifest.v1+json", "no application/vnd.oci.image.manifest"},
      {"manifest called index inside",
       R"({"mediaType":"application/vnd.oci.image.index.v1+json","layers":[]})", "",
       "no application/vnd.oci.image.index"},
      {"duplicate key", R"({"schemaVersion":2,"layers":[],"layers":[]})", "", "layers"},
      {"unknown layer",
       Manifest(kConfigType, Layer("application/vnd.cncf.helm.chart.content.v1.tar+gzip")), "",
       "layers[0].mediaType"},
      {"encrypted",
       Manifest(kConfigType, Layer("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")), "",
       "encrypted"},
      {"path as digest (CVE-2024-3727)",
       R"({"config":{"size":1,"digest":"sha256:../../etc/passwd"},"layers":[]})", "",
       "config.digest"},
      {"no size", absl::StrCat(R"({"config":{"digest":")", kDigest, R"("},"layers":[]})"), "",
       "size"},
      {"negative size",
       absl::StrCat(R"({"config":{"size":-1,"digest":")", kDigest, R"("},"layers":[]})"), "",
       "size"},
      {"huge config",
       absl::StrCat(R"({"config":{"size":8388609,"digest":")", kDigest, R"("},"layers":[]})"), "",
       "8 MiB"},
      {"layers as object", R"({"config":{},"layers":{}})", "", "manifest"},
      {"deep", std::string(100000, '['), "", "manifest"},
      {"too long", std::string(kMaxManifestBytes + 1, ' '), "", "manifest"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.description);
    const auto document = ParseManifest(row.text, row.type);
    ASSERT_FALSE(document.ok());
    EXPECT_EQ(document.status().code(), absl::StatusCode::kInvalidArgument) << document.status();
    EXPECT_THAT(std::string(document.status().message()), HasSubstr(row.reason));
  }
}

TEST(Manifest, ArtifactsAreToldByTheirConfigurationAndMayHaveAnyLayers) {
  const auto document = ParseManifest(
      Manifest("application/vnd.cncf.helm.config.v1+json", Layer("application/octet-stream")), "");
  ASSERT_TRUE(document.ok()) << document.status();
  const auto& manifest = std::get<ImageManifest>(*document);
  EXPECT_EQ(manifest.artifact_type, "application/vnd.cncf.helm.config.v1+json");
  EXPECT_EQ(manifest.layers[0].media_type, "application/octet-stream");
  const auto image = ParseManifest(Manifest(kConfigType, Layer(kLayerType)), "");
  EXPECT_EQ(std::get<ImageManifest>(*image).artifact_type, "");
}

TEST(Manifest, LayersAreLimited) {
  std::string layers = Layer(kLayerType);
  for (size_t i = 0; i < kMaxLayers; ++i) absl::StrAppend(&layers, ",", Layer(kLayerType));
  EXPECT_THAT(std::string(ParseManifest(Manifest(kConfigType, layers), "").status().message()),
              HasSubstr("1024"));
}

TEST(Platform, TheMostSpecificRunnableIsChosen) {
  const std::string text =
      absl::StrCat(R"({"schemaVersion":2,"manifests":[)",
                   Entry(R"({"os":"unknown","architecture":"unknown"})", '0'), ",",
                   Entry(R"({"os":"linux","architecture":"386"})", '1'), ",",
                   Entry(R"({"os":"linux","architecture":"amd64"})", '2'), ",",
                   Entry(R"({"os":"linux","architecture":"amd64","variant":"v3"})", '3'), ",",
                   Entry(R"({"os":"windows","architecture":"amd64"})", '4'), ",",
                   Entry(R"({"os":"linux","architecture":"arm","variant":"v6"})", '5'), ",",
                   Entry(R"({"os":"linux","architecture":"arm","variant":"v7"})", '6'), "]}");
  const auto document =
      ParseManifest(text, "application/vnd.oci.image.index.v1+json; charset=utf-8");
  ASSERT_TRUE(document.ok()) << document.status();
  const auto& index = std::get<ImageIndex>(*document);
  const auto chosen = [&](const Platform& node) {
    const auto entry = ChoosePlatform(index, node);
    return entry.ok() ? entry->digest[7] : '-';
  };
  EXPECT_EQ(chosen({"linux", "amd64", "v4"}), '3');
  EXPECT_EQ(chosen({"linux", "amd64", "v3"}), '3');
  EXPECT_EQ(chosen({"linux", "amd64", "v2"}), '2');
  EXPECT_EQ(chosen({"linux", "arm64", "v8"}), '6');
  const auto none = ChoosePlatform(index, {"linux", "riscv64", ""});
  EXPECT_EQ(none.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("linux/arm/v6"));
  EXPECT_EQ(NodePlatform().os, "linux");
}

TEST(Config, AllRunTimeFieldsAreRead) {
  const auto document = ParseConfig(absl::StrCat(
      R"({"os":"linux","architecture":"amd64","config":{"User":"1:2","Entrypoint":["/e"],"Cmd":["c"],"Env":["A=b"],
      "WorkingDir":"/w","Volumes":{"/v":{}},"ExposedPorts":{"80/tcp":{}},"StopSignal":"SIGINT","Labels":{"l":"m"},
      "Healthcheck":{"Test":["NONE"]}},"rootfs":{"type":"layers","diff_ids":[")",
      kDigest, R"("]},"history":[]})"));
  ASSERT_TRUE(document.ok()) << document.status();
  const ImageConfig& config = document->config;
  EXPECT_EQ(config.user, "1:2");
  EXPECT_THAT(config.entrypoint, ElementsAre("/e"));
  EXPECT_THAT(config.cmd, ElementsAre("c"));
  EXPECT_THAT(config.env, ElementsAre("A=b"));
  EXPECT_EQ(config.working_dir, "/w");
  EXPECT_THAT(config.volumes, ElementsAre("/v"));
  EXPECT_THAT(config.exposed_ports, ElementsAre("80/tcp"));
  EXPECT_EQ(config.stop_signal, "SIGINT");
  EXPECT_EQ(config.labels.at("l"), "m");
  EXPECT_EQ(config.healthcheck_json, R"({"Test":["NONE"]})");
  EXPECT_THAT(document->diff_ids, ElementsAre(kDigest));
}

TEST(Config, BadOnesAreRefused) {
  for (const std::string text : {"{}", "[]", "", R"({"rootfs":{"diff_ids":["sha256:00"]}})",
                                 R"({"os":"windows","rootfs":{}})",
                                 R"({"rootfs":{},"config":{"Env":"A=b"}})", R"({"rootfs":[]})"}) {
    EXPECT_EQ(ParseConfig(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace gantry::images
