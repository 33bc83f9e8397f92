#include "imageservice/artifact.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "imageservice/digester.h"
#include "imageservice/layer_path.h"

namespace gantry::images {
namespace {

// "{}", where the specification wants a layer and there is nothing to say.
constexpr absl::string_view kEmptyType = "application/vnd.oci.empty.v1+json";

// Takes a compression's suffix off `type`; false when there is none.
bool TakeCompression(absl::string_view& type) {
  for (const absl::string_view suffix : {"+gzip", "+zstd", ".gzip", ".zstd", "-gzip"}) {
    if (absl::ConsumeSuffix(&type, suffix)) return true;
  }
  return false;
}

bool IsPlainTar(absl::string_view type) {
  if (!absl::ConsumeSuffix(&type, "tar")) return false;
  return type.empty() || !absl::ascii_isalnum(static_cast<unsigned char>(type.back()));
}

// "dir/weights.bin"; the blob's own hex digits when nobody gave it a name.
StatusOr<std::string> FileName(const Descriptor& layer) {
  if (layer.title.empty()) return layer.digest.substr(layer.digest.find(':') + 1);
  const StatusOr<LayerPath> path = CleanLayerPath(layer.title);
  if (!path.ok() || path->kind != LayerName::kOrdinary) {
    return absl::InvalidArgumentError(absl::StrCat("layer ", layer.digest,
                                                   " of the artifact is called \"", layer.title,
                                                   "\", which cannot be a file's name"));
  }
  std::string name;
  for (const std::string& parent : path->parents) absl::StrAppend(&name, parent, "/");
  return name + path->name;
}

StatusOr<ArtifactLayer> FileLayer(const Descriptor& blob) {
  ArtifactLayer layer;
  layer.blob = blob;
  ASSIGN_OR_RETURN(layer.file, FileName(blob));
  // The name counts as its digest: nobody chooses what is hashed here.
  ASSIGN_OR_RETURN(const std::string name, DigestOf(layer.file));
  ASSIGN_OR_RETURN(layer.key, DigestOf(absl::StrCat("file ", name, " ", blob.digest)));
  return layer;
}

ArtifactLayer TarLayer(const Descriptor& blob) {
  absl::string_view type = blob.media_type;
  ArtifactLayer layer;
  layer.blob = blob;
  layer.key = blob.digest;
  layer.diff_id = TakeCompression(type) ? blob.uncompressed : blob.digest;
  // As unpackers compute it, and nothing else can be compared.
  if (!absl::StartsWith(layer.diff_id, "sha256:")) layer.diff_id.clear();
  return layer;
}

}  // namespace

bool IsTarType(absl::string_view media_type) {
  TakeCompression(media_type);
  return IsPlainTar(media_type);
}

StatusOr<std::vector<ArtifactLayer>> ArtifactLayers(const ImageManifest& manifest) {
  std::vector<ArtifactLayer> layers;
  for (const Descriptor& blob : manifest.layers) {
    if (blob.media_type == kEmptyType) continue;
    if (IsTarType(blob.media_type)) {
      layers.push_back(TarLayer(blob));
      continue;
    }
    ASSIGN_OR_RETURN(layers.emplace_back(), FileLayer(blob));
  }
  if (layers.empty())
    return absl::UnimplementedError("it is an artifact that cannot be mounted: it has no layers");
  return layers;
}

}  // namespace gantry::images
