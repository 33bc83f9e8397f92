#include "imageservice/image_resolve.h"

#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"

#include "imageservice/blob_download.h"
#include "imageservice/digester.h"
#include "imageservice/pull_policy.h"

namespace gantry::images {
namespace {

constexpr int kMaxDocuments = 32;  // asked for on behalf of one image

// The content that a descriptor brings along, when it is what the digest says.
StatusOr<std::string> Embedded(const Descriptor& descriptor) {
  ASSIGN_OR_RETURN(const std::string digest, DigestOf(descriptor.data, descriptor.digest));
  if (digest == descriptor.digest && descriptor.data.size() == descriptor.size)
    return descriptor.data;
  return absl::DataLossError(
      absl::StrCat("the data of descriptor ", descriptor.digest, " has digest ", digest));
}

class Resolver {
 public:
  Resolver(const RegistryClient& registry, HttpClient& client)
      : registry_(registry), client_(client) {}

  StatusOr<ResolvedImage> Run() {
    const Reference& reference = registry_.reference();
    const std::string target = reference.digest.empty() ? reference.tag : reference.digest;
    ASSIGN_OR_RETURN(FetchedManifest top, registry_.FetchManifest(client_, target, 0));
    RETURN_IF_ERROR_CONTEXT(CheckPullPolicy({reference, top.digest, top.bytes, top.from}),
                            "pull policy");
    resolved_.digest = top.digest;
    RETURN_IF_ERROR(Read(std::move(top), Platform{}, 0));
    if (!found_) return nothing_here_;
    return std::move(resolved_);
  }

 private:
  // Reads a document and what it leads to. OK without found_: an index with nothing for us.
  Status Read(FetchedManifest fetched, const Platform& platform, int depth) {
    if (depth > kMaxIndexDepth)
      return absl::InvalidArgumentError("indexes are nested more than 4 deep");
    if (++documents_ > kMaxDocuments)
      return absl::InvalidArgumentError("its indexes lead to more than 32 documents");
    ASSIGN_OR_RETURN(ManifestDocument document, ParseManifest(fetched.bytes, fetched.content_type));
    const auto* index = std::get_if<ImageIndex>(&document);
    resolved_.steps.push_back({fetched.digest, fetched.from, platform, index != nullptr,
                               index == nullptr ? 0 : index->manifests.size()});
    if (index != nullptr) return Choose(*index, depth);
    resolved_.manifest = std::get<ImageManifest>(std::move(document));
    resolved_.manifest_digest = fetched.digest;
    resolved_.manifest_bytes = std::move(fetched.bytes);
    found_ = true;
    return absl::OkStatus();
  }

  Status Choose(const ImageIndex& index, int depth) {
    const auto candidates = PlatformCandidates(index, NodePlatform());
    if (!candidates.ok()) {
      nothing_here_ = candidates.status();
      return absl::OkStatus();
    }
    for (const Descriptor& entry : *candidates) {
      const size_t steps = resolved_.steps.size();
      ASSIGN_OR_RETURN(FetchedManifest fetched, Fetch(entry));
      RETURN_IF_ERROR(Read(std::move(fetched), entry.platform, depth + 1));
      if (found_) return absl::OkStatus();
      resolved_.steps.resize(steps);
    }
    return absl::OkStatus();
  }

  StatusOr<FetchedManifest> Fetch(const Descriptor& entry) const {
    FetchedManifest fetched;
    if (!entry.data.empty()) {
      ASSIGN_OR_RETURN(fetched.bytes, Embedded(entry));
      fetched.digest = entry.digest;
      fetched.from = "the index itself";
    } else {
      ASSIGN_OR_RETURN(fetched, registry_.FetchManifest(client_, entry.digest, entry.size));
    }
    if (fetched.content_type.empty()) fetched.content_type = entry.media_type;
    return fetched;
  }

  const RegistryClient& registry_;
  HttpClient& client_;
  ResolvedImage resolved_;
  Status nothing_here_;
  bool found_ = false;
  int documents_ = 0;
};

}  // namespace

StatusOr<ResolvedImage> ResolveImage(const RegistryClient& registry, HttpClient& client) {
  auto resolved = Resolver(registry, client).Run();
  if (resolved.ok()) return resolved;
  return Annotate(resolved.status(), registry.reference().ToString());
}

StatusOr<std::string> FetchContent(const RegistryClient& registry, HttpClient& client,
                                   const Descriptor& descriptor, size_t limit) {
  if (!descriptor.data.empty() && descriptor.size <= limit) return Embedded(descriptor);
  return FetchBlob(registry, client, descriptor, limit);
}

}  // namespace gantry::images
