// From a reference to the manifest for this machine: through indexes, with every step noted.
#pragma once

#include <string>
#include <vector>

#include "imageservice/manifest.h"
#include "imageservice/registry_client.h"
#include "runtime/base/status.h"

namespace gantry::images {

// A document on the way.
struct ResolveStep {
  std::string digest, from;  // `from`: the URL, or the descriptor that brought it along
  Platform platform;         // of the entry that led here; empty for the first
  bool index = false;
  size_t entries = 0;  // of an index
};

struct ResolvedImage {
  std::string digest;           // what the reference names
  std::string manifest_digest;  // of `manifest`; the same when there is no index
  ImageManifest manifest;
  std::string manifest_bytes;
  std::vector<ResolveStep> steps;  // the first is what the reference names, the last the manifest
};

// Asks `registry`, then CheckPullPolicy, then reads what came. An index in an index that has
// nothing for this machine is passed over for the next candidate. Errors as RegistryClient,
// ParseManifest and CheckPullPolicy. `client` is used by one thread at a time.
StatusOr<ResolvedImage> ResolveImage(const RegistryClient& registry, HttpClient& client);

// The content of a small blob: what its descriptor brings along, or from the registry; checked
// against digest and size. kInvalidArgument when it is said to be longer than `limit`.
StatusOr<std::string> FetchContent(const RegistryClient& registry, HttpClient& client,
                                   const Descriptor& descriptor, size_t limit);

}  // namespace gantry::images
