#include "imageservice/layer_path.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace gantry::images {
namespace {

constexpr size_t kMaxComponent = 255, kMaxDepth = 256;
constexpr absl::string_view kWhiteoutPrefix = ".wh.", kMetaPrefix = ".wh..wh.",
                            kOpaqueName = ".wh..wh..opq";

Status Bad(absl::string_view why) { return absl::InvalidArgumentError(why); }

StatusOr<std::vector<std::string>> Components(absl::string_view name) {
  if (name.find('\0') != absl::string_view::npos) return Bad("a NUL in the name");
  std::vector<std::string> components;
  for (absl::string_view part : absl::StrSplit(name, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (components.empty()) return Bad("the name leads above the root of the layer");
      components.pop_back();
      continue;
    }
    if (part.size() > kMaxComponent) return Bad("a component of more than 255 bytes");
    if (components.size() == kMaxDepth) return Bad("more than 256 components");
    components.emplace_back(part);
  }
  return components;
}

}  // namespace

StatusOr<LayerPath> CleanLayerPath(absl::string_view name) {
  LayerPath path;
  ASSIGN_OR_RETURN(path.parents, Components(name));
  if (path.parents.empty()) return path;
  path.name = std::move(path.parents.back());
  path.parents.pop_back();
  path.kind = LayerName::kOrdinary;
  for (const std::string& parent : path.parents) {
    if (absl::StartsWith(parent, kMetaPrefix)) {
      path.kind = LayerName::kIgnored;
      return path;
    }
    if (absl::StartsWith(parent, kWhiteoutPrefix)) return Bad("a whiteout as a directory");
  }
  if (path.name == kOpaqueName) {
    path.kind = LayerName::kOpaque;
  } else if (absl::StartsWith(path.name, kMetaPrefix)) {
    path.kind = LayerName::kIgnored;
  } else if (absl::StartsWith(path.name, kWhiteoutPrefix)) {
    path.kind = LayerName::kWhiteout;
    path.name.erase(0, kWhiteoutPrefix.size());
    if (path.name.empty() || path.name == "." || path.name == "..") {
      return Bad("a whiteout of nothing");
    }
  }
  return path;
}

}  // namespace gantry::images
