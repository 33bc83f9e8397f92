// An image in a registry: reference → manifest (through indexes) → configuration → layers.
#include <fcntl.h>

#include <atomic>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

#include "imageservice/artifact.h"
#include "imageservice/digester.h"
#include "imageservice/image_resolve.h"
#include "imageservice/image_source.h"
#include "imageservice/manifest.h"
#include "imageservice/registry_client.h"
#include "imageservice/registry_setup.h"
#include "imageservice/tar_writer.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

class RegistrySource : public ImageSource {
 public:
  RegistrySource(RegistrySetup setup, std::string known_config)
      : registry_(MakeRegistryClient(std::move(setup))),
        known_config_(std::move(known_config)),
        boot_(ReadBootId()) {}

  StatusOr<std::vector<FoundImage>> Find() override {
    HttpClient client;
    const Reference& reference = registry_.reference();
    ASSIGN_OR_RETURN(const ResolvedImage resolved, ResolveImage(registry_, client));
    FoundImage image;
    // Beside a digest a tag is a remark: nobody has asked the registry what it names today.
    if (reference.digest.empty()) image.repo_tags.push_back(reference.Tagged());
    image.repo_digests.push_back(absl::StrCat(reference.Name(), "@", resolved.digest));
    RETURN_IF_ERROR_CONTEXT(resolved.manifest.artifact_type.empty()
                                ? FillImage(client, resolved.manifest, image)
                                : FillArtifact(resolved, image),
                            reference.ToString());
    image.documents.manifest = resolved.manifest_bytes;
    return std::vector<FoundImage>{std::move(image)};
  }

  Status Deliver(const FoundLayer& layer, UniqueFd resume, const BlobSink& sink) override {
    HttpClient client;
    const auto found = layers_.find(layer.digest);
    if (found == layers_.end()) return absl::InternalError("a layer that was not found");
    const ArtifactLayer& wanted = found->second;
    if (wanted.file.empty()) return Fetch(client, wanted.blob, std::move(resume), sink);
    // What unpacks it knows archives only.
    const auto to_sink = [&](absl::string_view bytes) {
      return sink({bytes.data(), bytes.size()});
    };
    TarFileWriter archive(to_sink);
    RETURN_IF_ERROR(archive.Begin(wanted.file, wanted.blob.size));
    RETURN_IF_ERROR(Fetch(client, wanted.blob, std::move(resume), [&](std::span<const char> bytes) {
      return archive.Write({bytes.data(), bytes.size()});
    }));
    RETURN_IF_ERROR(archive.End());
    return archive.Finish();
  }

  bool HasOtherSource() const override { return bad_spool_ || registry_.HasOther(); }
  std::vector<HostReport> HostNews() const override { return registry_.health().News(); }

 private:
  Status Fetch(HttpClient& client, const Descriptor& blob, UniqueFd resume, const BlobSink& sink) {
    if (!blob.data.empty()) {
      ASSIGN_OR_RETURN(const std::string bytes, FetchContent(registry_, client, blob, blob.size));
      return sink(bytes);
    }
    std::unique_ptr<BlobSpool> spool;
    if (resume.valid())
      spool = BlobSpool::Open(std::move(resume),
                              {blob.digest, blob.size, registry_.reference().registry}, boot_);
    const bool resumed = spool != nullptr && spool->length() > 0;
    const Status status =
        DownloadBlob(registry_, client, blob, sink, {.budget = &budget_, .spool = spool.get()});
    if (resumed && absl::IsDataLoss(status)) bad_spool_ = true;
    return status;
  }

  // Before confinement. Empty when it cannot be read: then every start is a new boot.
  static std::string ReadBootId() {
    const StatusOr<std::string> text = ReadFileAt(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64);
    return text.ok() ? text->substr(0, text->find('\n')) : "";
  }

  StatusOr<std::string> Config(HttpClient& client, const Descriptor& descriptor) const {
    if (!known_config_.empty() && known_config_.size() == descriptor.size) {
      ASSIGN_OR_RETURN(const std::string digest, DigestOf(known_config_, descriptor.digest));
      if (digest == descriptor.digest) return known_config_;
    }
    return FetchContent(registry_, client, descriptor, kMaxConfigBytes);
  }

  Status FillImage(HttpClient& client, const ImageManifest& manifest, FoundImage& image) {
    ASSIGN_OR_RETURN_CONTEXT(const std::string config, Config(client, manifest.config),
                             "image config");
    ASSIGN_OR_RETURN(ConfigDocument document, ParseConfig(config));
    if (document.diff_ids.size() != manifest.layers.size()) {
      return absl::InvalidArgumentError(absl::StrCat("the manifest has ", manifest.layers.size(),
                                                     " layers, its configuration ",
                                                     document.diff_ids.size()));
    }
    image.id = manifest.config.digest;
    image.config = std::move(document.config);
    image.config_size = config.size();
    image.documents.config = config;
    for (size_t i = 0; i < manifest.layers.size(); ++i)
      AddLayer({manifest.layers[i], manifest.layers[i].digest, document.diff_ids[i], ""}, image);
    return absl::OkStatus();
  }

  // Many artifacts have the same, empty configuration: the manifest is what tells them apart.
  Status FillArtifact(const ResolvedImage& resolved, FoundImage& image) {
    ASSIGN_OR_RETURN(std::vector<ArtifactLayer> layers, ArtifactLayers(resolved.manifest));
    image.id = resolved.manifest_digest;
    image.config_size = resolved.manifest.config.size;
    for (ArtifactLayer& layer : layers) AddLayer(std::move(layer), image);
    return absl::OkStatus();
  }

  void AddLayer(ArtifactLayer layer, FoundImage& image) {
    image.layers.push_back({layer.key, layer.blob.size, layer.diff_id});
    const std::string key = layer.key;
    layers_.try_emplace(key, std::move(layer));
  }

  const RegistryClient registry_;
  const std::string known_config_;
  std::map<std::string, ArtifactLayer> layers_;  // by their keys; those of images too
  const std::string boot_;
  FetchBudget budget_;
  std::atomic<bool> bad_spool_{false};
};

}  // namespace

StatusOr<std::unique_ptr<ImageSource>> OpenRegistrySource(const PullTask& task) {
  RegistrySetup setup;
  RETURN_IF_ERROR(PrepareRegistry(task, setup));
  return std::make_unique<RegistrySource>(std::move(setup), task.known_config);
}

}  // namespace gantry::images
