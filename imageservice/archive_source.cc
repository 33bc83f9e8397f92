// Images in an archive: `docker save` (manifest.json) or an OCI layout (index.json). What both
// describe is read as docker's, which has the names.
#include <fcntl.h>

#include <map>
#include <utility>
#include <variant>

#define JSON_NO_IO
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "imageservice/archive_index.h"
#include "imageservice/digester.h"
#include "imageservice/image_source.h"
#include "imageservice/manifest.h"
#include "imageservice/reference.h"
#include "runtime/base/json.h"

namespace gantry::images {
namespace {

constexpr size_t kMaxImages = 256;

// One image as manifest.json has it.
struct SavedImage {
  std::string config;
  std::vector<std::string> tags, layers;
};

class ArchiveSource : public ImageSource {
 public:
  ArchiveSource(UniqueFd archive, std::string name)
      : archive_(std::move(archive)), name_(std::move(name)) {}

  StatusOr<std::vector<FoundImage>> Find() override {
    ASSIGN_OR_RETURN(index_, ArchiveIndex::Read(archive_.get()));
    std::vector<FoundImage> images;
    if (index_.Has("manifest.json")) {
      ASSIGN_OR_RETURN(images, FindSaved());
    } else if (index_.Has("index.json")) {
      ASSIGN_OR_RETURN(images, FindLayout());
    } else {
      return absl::InvalidArgumentError(
          "this is no image archive: it has neither manifest.json nor index.json");
    }
    if (images.empty())
      return absl::InvalidArgumentError("the archive holds no image for this machine");
    if (images.size() == 1 && images[0].repo_tags.empty() && !name_.empty()) {
      ASSIGN_OR_RETURN(const Reference reference, ParseReference(name_));
      if (reference.digest.empty()) images[0].repo_tags.push_back(reference.Tagged());
    }
    return images;
  }

  Status Deliver(const FoundLayer& layer, UniqueFd, const BlobSink& sink) override {
    const auto file = layers_.find(layer.digest);
    if (file == layers_.end()) return absl::InvalidArgumentError("no such layer");
    ASSIGN_OR_RETURN(Digester digester, Digester::Make(layer.digest));
    RETURN_IF_ERROR(ReadArchiveFile(archive_.get(), file->second, [&](std::span<const char> bytes) {
      digester.Update(bytes);
      return sink(bytes);
    }));
    const std::string digest = digester.Finish();
    if (digest == layer.digest) return absl::OkStatus();
    return absl::DataLossError(
        absl::StrCat("the layer has digest ", digest, ", not ", layer.digest));
  }

 private:
  StatusOr<std::string> ReadFile(const std::string& name, size_t limit) const {
    ASSIGN_OR_RETURN(const ArchiveFile file, index_.Find(name));
    if (file.size > limit)
      return absl::InvalidArgumentError(absl::StrCat(name, " is longer than ", limit, " bytes"));
    std::string text;
    RETURN_IF_ERROR(ReadArchiveFile(archive_.get(), file, [&](std::span<const char> bytes) {
      text.append(bytes.data(), bytes.size());
      return absl::OkStatus();
    }));
    return text;
  }

  StatusOr<std::vector<FoundImage>> FindSaved() {
    ASSIGN_OR_RETURN(const std::string text, ReadFile("manifest.json", kMaxManifestBytes));
    ASSIGN_OR_RETURN_CONTEXT(nlohmann::json list, ParseJson(text), "manifest.json");
    Status status;
    const nlohmann::json document = {{"images", std::move(list)}};
    std::vector<SavedImage> saved;
    JsonReader(document, status).ForEach("images", [&](const JsonReader& reader) {
      SavedImage image;
      reader.Read("Config", image.config);
      reader.Read("RepoTags", image.tags);
      reader.Read("Layers", image.layers);
      if (saved.size() == kMaxImages || image.layers.size() > kMaxLayers)
        reader.Fail("Layers", "are too many");
      if (status.ok()) saved.push_back(std::move(image));
    });
    if (!status.ok()) return Annotate(status, "manifest.json");
    std::vector<FoundImage> images;
    for (const SavedImage& image : saved) {
      ASSIGN_OR_RETURN_CONTEXT(FoundImage found, ReadSaved(image), image.config);
      images.push_back(std::move(found));
    }
    return images;
  }

  StatusOr<FoundImage> ReadSaved(const SavedImage& saved) {
    FoundImage image;
    ASSIGN_OR_RETURN(const std::string config, ReadFile(saved.config, kMaxConfigBytes));
    ASSIGN_OR_RETURN(image.id, DigestOf(config));
    for (const std::string& tag : saved.tags) {
      ASSIGN_OR_RETURN(const Reference reference, ParseReference(tag));
      image.repo_tags.push_back(reference.Tagged());
    }
    std::vector<std::pair<std::string, ArchiveFile>> layers;
    for (const std::string& path : saved.layers) {
      ASSIGN_OR_RETURN(const ArchiveFile file, index_.Find(path));
      ASSIGN_OR_RETURN(std::string digest, DigestOfFile(file));
      layers.emplace_back(std::move(digest), file);
    }
    RETURN_IF_ERROR(Fill(config, layers, image));
    return image;
  }

  // An archive of docker's names layers by path, so the blob digest has to be computed before it
  // can be a key.
  StatusOr<std::string> DigestOfFile(const ArchiveFile& file) {
    std::string& known = digests_[file.offset];
    if (known.empty()) {
      ASSIGN_OR_RETURN(Digester digester, Digester::Make("sha256"));
      RETURN_IF_ERROR(ReadArchiveFile(archive_.get(), file, [&](std::span<const char> bytes) {
        digester.Update(bytes);
        return absl::OkStatus();
      }));
      known = digester.Finish();
    }
    return known;
  }

  Status Fill(const std::string& config,
              const std::vector<std::pair<std::string, ArchiveFile>>& layers, FoundImage& image) {
    ASSIGN_OR_RETURN(ConfigDocument document, ParseConfig(config));
    if (document.diff_ids.size() != layers.size()) {
      return absl::InvalidArgumentError(absl::StrCat("the archive has ", layers.size(),
                                                     " layers, its configuration ",
                                                     document.diff_ids.size()));
    }
    image.config = std::move(document.config);
    image.config_size = config.size();
    image.documents.config = config;
    for (size_t i = 0; i < layers.size(); ++i) {
      layers_[layers[i].first] = layers[i].second;
      image.layers.push_back({layers[i].first, layers[i].second.size, document.diff_ids[i]});
    }
    return absl::OkStatus();
  }

  StatusOr<std::vector<FoundImage>> FindLayout() {
    ASSIGN_OR_RETURN(const std::string text, ReadFile("index.json", kMaxManifestBytes));
    ASSIGN_OR_RETURN_CONTEXT(const ManifestDocument top, ParseManifest(text, ""), "index.json");
    if (!std::holds_alternative<ImageIndex>(top))
      return absl::InvalidArgumentError("index.json is no index");
    std::vector<FoundImage> images;
    for (const Descriptor& entry : std::get<ImageIndex>(top).manifests) {
      if (images.size() == kMaxImages)
        return absl::InvalidArgumentError("the archive holds more than 256 images");
      if (!ChoosePlatform(ImageIndex{{entry}}, NodePlatform()).ok()) continue;
      ASSIGN_OR_RETURN_CONTEXT(FoundImage image, ReadLayoutImage(entry), entry.digest);
      images.push_back(std::move(image));
    }
    return images;
  }

  StatusOr<FoundImage> ReadLayoutImage(const Descriptor& entry) {
    FoundImage image;
    ASSIGN_OR_RETURN(const ImageManifest manifest, ReachManifest(entry, &image.documents.manifest));
    ASSIGN_OR_RETURN(const std::string config, ReadBlob(manifest.config, kMaxConfigBytes));
    image.id = manifest.config.digest;
    NameLayoutImage(entry, image);
    std::vector<std::pair<std::string, ArchiveFile>> layers;
    for (const Descriptor& layer : manifest.layers) {
      ASSIGN_OR_RETURN(const ArchiveFile file, index_.Find(LayoutBlobPath(layer.digest)));
      if (file.size != layer.size) return WrongSize(layer, file.size);
      layers.emplace_back(layer.digest, file);
    }
    RETURN_IF_ERROR(Fill(config, layers, image));
    return image;
  }

  // `bytes`: gets the manifest as it stands in the archive.
  StatusOr<ImageManifest> ReachManifest(Descriptor descriptor, std::string* bytes) const {
    for (int depth = 0; depth <= kMaxIndexDepth; ++depth) {
      ASSIGN_OR_RETURN(*bytes, ReadBlob(descriptor, kMaxManifestBytes));
      ASSIGN_OR_RETURN(ManifestDocument document, ParseManifest(*bytes, descriptor.media_type));
      if (auto* manifest = std::get_if<ImageManifest>(&document)) {
        if (manifest->artifact_type.empty()) return std::move(*manifest);
        return absl::UnimplementedError(absl::StrCat("it is an artifact (", manifest->artifact_type,
                                                     "), which is taken from registries alone"));
      }
      ASSIGN_OR_RETURN(descriptor, ChoosePlatform(std::get<ImageIndex>(document), NodePlatform()));
    }
    return absl::InvalidArgumentError("indexes are nested more than 4 deep");
  }

  // A ref.name is often only a tag: then it names nothing, unless the caller gave a name.
  void NameLayoutImage(const Descriptor& entry, FoundImage& image) const {
    if (!absl::StrContains(entry.name, '/') && !absl::StrContains(entry.name, ':')) return;
    const StatusOr<Reference> reference = ParseReference(entry.name);
    if (!reference.ok()) return;
    if (reference->digest.empty()) image.repo_tags.push_back(reference->Tagged());
    image.repo_digests.push_back(absl::StrCat(reference->Name(), "@", entry.digest));
  }

  static Status WrongSize(const Descriptor& descriptor, uint64_t size) {
    return absl::DataLossError(absl::StrCat("blob ", descriptor.digest, " has ", size,
                                            " bytes, its descriptor says ", descriptor.size));
  }

  StatusOr<std::string> ReadBlob(const Descriptor& descriptor, size_t limit) const {
    ASSIGN_OR_RETURN(std::string text, ReadFile(LayoutBlobPath(descriptor.digest), limit));
    if (text.size() != descriptor.size) return WrongSize(descriptor, text.size());
    ASSIGN_OR_RETURN(const std::string digest, DigestOf(text, descriptor.digest));
    if (digest == descriptor.digest) return text;
    return absl::DataLossError(absl::StrCat("blob ", descriptor.digest, " has digest ", digest));
  }

  const UniqueFd archive_;
  const std::string name_;
  ArchiveIndex index_;
  std::map<uint64_t, std::string> digests_;    // by offset in the archive
  std::map<std::string, ArchiveFile> layers_;  // by digest; fixed once Find has returned
};

}  // namespace

StatusOr<std::unique_ptr<ImageSource>> OpenArchiveSource(const ImportTask& task, UniqueFd archive,
                                                         UniqueFd spool) {
  if (IsPlainFile(archive.get()))
    return std::make_unique<ArchiveSource>(std::move(archive), task.name);
  RETURN_IF_ERROR(SpoolArchive(archive.get(), spool.get()));
  return std::make_unique<ArchiveSource>(std::move(spool), task.name);
}

}  // namespace gantry::images
