#include "imageservice/artifact.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gantry::images {
namespace {

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

Status Unmountable(const Descriptor& layer, absl::string_view why) {
  return absl::UnimplementedError(
      absl::StrCat("it is an artifact that cannot be mounted: layer ", layer.digest, " is ",
                   layer.media_type.empty() ? "of no type" : layer.media_type, why));
}

}  // namespace

bool IsTarType(absl::string_view media_type) {
  TakeCompression(media_type);
  return IsPlainTar(media_type);
}

StatusOr<std::vector<std::string>> ArtifactDiffIds(const ImageManifest& manifest) {
  if (manifest.layers.empty())
    return absl::UnimplementedError("it is an artifact that cannot be mounted: it has no layers");
  std::vector<std::string> diff_ids;
  for (const Descriptor& layer : manifest.layers) {
    absl::string_view type = layer.media_type;
    const bool compressed = TakeCompression(type);
    if (!IsPlainTar(type)) return Unmountable(layer, ", not a tar");
    if (compressed && layer.uncompressed.empty())
      return Unmountable(layer, " and does not tell the digest of what it unpacks to");
    diff_ids.push_back(compressed ? layer.uncompressed : layer.digest);
  }
  return diff_ids;
}

}  // namespace gantry::images
