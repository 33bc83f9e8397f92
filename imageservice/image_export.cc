#include "imageservice/image_export.h"

#include <memory>
#include <set>
#include <utility>

#define JSON_NO_IO
#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "imageservice/digester.h"
#include "imageservice/layer_hold.h"
#include "imageservice/reference.h"
#include "imageservice/tar_writer.h"
#include "runtime/base/json.h"

namespace gantry::images {
namespace {

using Json = nlohmann::json;

constexpr char kManifestType[] = "application/vnd.oci.image.manifest.v1+json";
constexpr char kConfigType[] = "application/vnd.oci.image.config.v1+json";
constexpr char kLayerType[] = "application/vnd.oci.image.layer.v1.tar";

struct ExportedImage {
  std::shared_ptr<const Image> image;
  ImageDocuments documents;
  std::string manifest, manifest_digest, media_type;
};

class Exporter {
 public:
  Exporter(ImageStore* store, const LayerTarOptions& options, TarFileWriter::Sink sink)
      : store_(store), options_(options), archive_(sink) {}

  Status Run(const std::vector<std::string>& references) {
    std::vector<std::string> held;
    for (const std::string& reference : references) {
      ASSIGN_OR_RETURN(ExportedImage found, Find(reference));
      held.insert(held.end(), found.image->layers.begin(), found.image->layers.end());
      images_.push_back(std::move(found));
    }
    const LayerHold hold(store_, held);
    for (ExportedImage& image : images_) RETURN_IF_ERROR(ChooseManifest(&image));
    RETURN_IF_ERROR(archive_.AddFile("oci-layout", R"({"imageLayoutVersion":"1.0.0"})"));
    RETURN_IF_ERROR(archive_.AddFile("index.json", Index()));
    RETURN_IF_ERROR(archive_.AddFile("manifest.json", DockerManifest()));
    for (const ExportedImage& image : images_) RETURN_IF_ERROR(WriteBlobs(image));
    return archive_.Finish();
  }

 private:
  StatusOr<ExportedImage> Find(const std::string& reference) const {
    ExportedImage found;
    ASSIGN_OR_RETURN(found.image, store_->Find(reference));
    if (found.image == nullptr)
      return absl::NotFoundError(absl::StrCat("no image \"", reference, "\""));
    ASSIGN_OR_RETURN(found.documents, store_->Documents(found.image->id));
    if (found.documents.config.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("\"", reference, "\" is an artifact: only images are exported"));
    }
    return found;
  }

  StatusOr<uint64_t> TarBytes(const std::string& layer) const {
    ASSIGN_OR_RETURN(const LayerInfo info, store_->Layer(layer));
    RETURN_IF_ERROR(CheckHasArchive(info));
    return info.tar_bytes;
  }

  Status ChooseManifest(ExportedImage* exported) const {
    const Image& image = *exported->image;
    Json layers = Json::array();
    for (size_t i = 0; i < image.layers.size(); ++i) {
      ASSIGN_OR_RETURN(const uint64_t bytes, TarBytes(image.layers[i]));
      layers.push_back({{"mediaType", kLayerType}, {"digest", image.diff_ids[i]}, {"size", bytes}});
    }
    exported->media_type = kManifestType;
    if (image.layers == image.diff_ids && !exported->documents.manifest.empty()) {
      exported->manifest = exported->documents.manifest;
      RETURN_IF_ERROR(ReadMediaType(exported));
    } else {
      exported->manifest = DumpJson({{"schemaVersion", 2},
                                     {"mediaType", kManifestType},
                                     {"config",
                                      {{"mediaType", kConfigType},
                                       {"digest", image.id},
                                       {"size", exported->documents.config.size()}}},
                                     {"layers", std::move(layers)}});
    }
    ASSIGN_OR_RETURN(exported->manifest_digest, DigestOf(exported->manifest));
    return absl::OkStatus();
  }

  static Status ReadMediaType(ExportedImage* exported) {
    ASSIGN_OR_RETURN(const Json document, ParseJson(exported->manifest, {.max_bytes = 4 << 20}));
    Status status;
    const JsonReader root(document, status);
    root.Read("mediaType", exported->media_type);
    return status;
  }

  // One entry for each name, as container tools expect.
  std::string Index() const {
    Json manifests = Json::array();
    for (const ExportedImage& exported : images_) {
      const Json entry = {{"mediaType", exported.media_type},
                          {"digest", exported.manifest_digest},
                          {"size", exported.manifest.size()}};
      if (exported.image->repo_tags.empty()) manifests.push_back(entry);
      for (const std::string& name : exported.image->repo_tags) {
        Json named = entry;
        named["annotations"] = {{"io.containerd.image.name", name},
                                {"org.opencontainers.image.ref.name", name}};
        manifests.push_back(std::move(named));
      }
    }
    return DumpJson({{"schemaVersion", 2},
                     {"mediaType", "application/vnd.oci.image.index.v1+json"},
                     {"manifests", std::move(manifests)}});
  }

  std::string DockerManifest() const {
    Json all = Json::array();
    for (const ExportedImage& exported : images_) {
      Json layers = Json::array();
      for (const std::string& diff_id : exported.image->diff_ids)
        layers.push_back(LayoutBlobPath(diff_id));
      all.push_back({{"Config", LayoutBlobPath(exported.image->id)},
                     {"RepoTags", exported.image->repo_tags},
                     {"Layers", std::move(layers)}});
    }
    return DumpJson(all);
  }

  Status WriteBlobs(const ExportedImage& exported) {
    const Image& image = *exported.image;
    if (written_.insert(image.id).second)
      RETURN_IF_ERROR(archive_.AddFile(LayoutBlobPath(image.id), exported.documents.config));
    if (written_.insert(exported.manifest_digest).second)
      RETURN_IF_ERROR(
          archive_.AddFile(LayoutBlobPath(exported.manifest_digest), exported.manifest));
    for (size_t i = 0; i < image.layers.size(); ++i) {
      if (!written_.insert(image.diff_ids[i]).second) continue;
      RETURN_IF_ERROR_CONTEXT(WriteLayer(image.layers[i], image.diff_ids[i]),
                              absl::StrCat("layer ", image.layers[i]));
    }
    return absl::OkStatus();
  }

  Status WriteLayer(const std::string& layer, const std::string& diff_id) {
    ASSIGN_OR_RETURN(const uint64_t bytes, TarBytes(layer));
    RETURN_IF_ERROR(archive_.Begin(LayoutBlobPath(diff_id), bytes));
    ASSIGN_OR_RETURN(Digester digester, Digester::Make(diff_id));
    RETURN_IF_ERROR(ReadLayerTar(*store_, layer, options_, [&](absl::string_view piece) {
      digester.Update({piece.data(), piece.size()});
      return archive_.Write(piece);
    }));
    if (const std::string found = digester.Finish(); found != diff_id)
      return absl::DataLossError(
          absl::StrCat("its archive has the digest ", found, ", not ", diff_id));
    return archive_.End();
  }

  ImageStore* const store_;
  const LayerTarOptions& options_;
  TarFileWriter archive_;
  std::vector<ExportedImage> images_;
  std::set<std::string> written_;
};

}  // namespace

Status ExportImages(ImageStore* store, const std::vector<std::string>& references,
                    const LayerTarOptions& options,
                    absl::FunctionRef<Status(absl::string_view)> sink) {
  return Exporter(store, options, sink).Run(references);
}

}  // namespace gantry::images
