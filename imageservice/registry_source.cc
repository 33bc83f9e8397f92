// An image in a registry: reference → manifest (through indexes) → configuration → layers.
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"

#include "imageservice/image_source.h"
#include "imageservice/manifest.h"
#include "imageservice/reference.h"
#include "imageservice/registry_client.h"

namespace gantry::images {
namespace {

class RegistrySource : public ImageSource {
 public:
  RegistrySource(std::vector<RegistryEndpoint> endpoints, Reference reference,
                 std::unique_ptr<RegistryAuth> auth, HttpTimeouts timeouts)
      : registry_(std::move(endpoints), std::move(reference), std::move(auth), timeouts) {}

  StatusOr<std::vector<FoundImage>> Find() override {
    HttpClient client;
    const Reference& reference = registry_.reference();
    const std::string target = reference.digest.empty() ? reference.tag : reference.digest;
    ASSIGN_OR_RETURN(FetchedManifest top, registry_.FetchManifest(client, target, 0));
    FoundImage image;
    if (!reference.tag.empty()) image.repo_tags.push_back(reference.Tagged());
    image.repo_digests.push_back(absl::StrCat(reference.Name(), "@", top.digest));
    ASSIGN_OR_RETURN_CONTEXT(const ImageManifest manifest, ReachManifest(client, std::move(top)),
                             reference.ToString());
    ASSIGN_OR_RETURN_CONTEXT(const std::string config,
                             FetchBlob(registry_, client, manifest.config, kMaxConfigBytes),
                             "image config");
    RETURN_IF_ERROR_CONTEXT(Fill(manifest, config, image), reference.ToString());
    return std::vector<FoundImage>{std::move(image)};
  }

  Status Deliver(const FoundLayer& layer, const BlobSink& sink) override {
    HttpClient client;
    Descriptor descriptor;
    descriptor.digest = layer.digest;
    descriptor.size = layer.size;
    return DownloadBlob(registry_, client, descriptor, sink);
  }

 private:
  // From what the reference names to the manifest for this machine.
  StatusOr<ImageManifest> ReachManifest(HttpClient& client, FetchedManifest fetched) const {
    for (int depth = 0; depth <= kMaxIndexDepth; ++depth) {
      ASSIGN_OR_RETURN(ManifestDocument document,
                       ParseManifest(fetched.bytes, fetched.content_type));
      if (auto* manifest = std::get_if<ImageManifest>(&document)) return std::move(*manifest);
      ASSIGN_OR_RETURN(const Descriptor entry,
                       ChoosePlatform(std::get<ImageIndex>(document), NodePlatform()));
      ASSIGN_OR_RETURN(fetched, registry_.FetchManifest(client, entry.digest, entry.size));
      if (fetched.content_type.empty()) fetched.content_type = entry.media_type;
    }
    return absl::InvalidArgumentError("indexes are nested more than 4 deep");
  }

  static Status Fill(const ImageManifest& manifest, const std::string& config, FoundImage& image) {
    ASSIGN_OR_RETURN(ConfigDocument document, ParseConfig(config));
    if (document.diff_ids.size() != manifest.layers.size()) {
      return absl::InvalidArgumentError(absl::StrCat("the manifest has ", manifest.layers.size(),
                                                     " layers, its configuration ",
                                                     document.diff_ids.size()));
    }
    image.id = manifest.config.digest;
    image.config = std::move(document.config);
    image.config_size = config.size();
    for (size_t i = 0; i < manifest.layers.size(); ++i) {
      image.layers.push_back(
          {manifest.layers[i].digest, manifest.layers[i].size, document.diff_ids[i]});
    }
    return absl::OkStatus();
  }

  const RegistryClient registry_;
};

}  // namespace

StatusOr<std::unique_ptr<ImageSource>> OpenRegistrySource(const PullTask& task) {
  ASSIGN_OR_RETURN(Reference reference, ParseReference(task.reference));
  ASSIGN_OR_RETURN(auto endpoints, FindEndpoints(reference.registry, task.registry_config_path));
  ASSIGN_OR_RETURN(auto auth,
                   RegistryAuth::Make(task.credentials, reference.registry, reference.repository));
  HttpTimeouts timeouts;
  if (task.stall_timeout_ms > 0) timeouts.stall = std::chrono::milliseconds(task.stall_timeout_ms);
  return std::make_unique<RegistrySource>(std::move(endpoints), std::move(reference),
                                          std::move(auth), timeouts);
}

}  // namespace gantry::images
