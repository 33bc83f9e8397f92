// One blob from a registry: in order, hashed on the way, resumed where a connection broke.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "imageservice/http_client.h"
#include "imageservice/manifest.h"
#include "imageservice/registry_client.h"
#include "runtime/base/status.h"

namespace gantry::images {

// Takes the blob's bytes in order, each once. An error ends the download and is returned as it is.
using BlobSink = std::function<Status(std::span<const char>)>;

// Downloads the blob that `descriptor` names. OK means that all of it went to `sink` and that its
// digest and size are right. A connection that breaks is resumed by Range (or, at a server without
// ranges, by skipping what is known), at the next endpoint when this one is exhausted. Errors as
// RegistryClient; kDataLoss: wrong digest, size, or range.
Status DownloadBlob(const RegistryClient& registry, HttpClient& client,
                    const Descriptor& descriptor, const BlobSink& sink);

// A small blob into memory. kInvalidArgument when its descriptor says more than `limit`.
StatusOr<std::string> FetchBlob(const RegistryClient& registry, HttpClient& client,
                                const Descriptor& descriptor, size_t limit);

}  // namespace gantry::images
