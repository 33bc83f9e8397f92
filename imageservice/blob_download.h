// One blob from a registry: in order, hashed on the way, by several connections where that is
// faster, resumed where a connection broke or an earlier pull ended.
//
//   one connection ──────────────▶ hash ─▶ spool ─▶ sink         as long as it is the best
//   several: ranges ─▶ window ───▶ hash ─▶ spool ─▶ sink         once they have proved to be faster
//
// A download starts with one connection and no Range header. Every half second it looks where its
// time went: when most of it was spent waiting for the network, and enough of the blob is left,
// more connections fetch what lies ahead; their number grows while that makes the whole faster
// (ConnectionPlan). The first connection goes on until it reaches what they have, so that a server
// that ignores ranges costs nothing but the question.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "imageservice/blob_spool.h"
#include "imageservice/fetch_budget.h"
#include "imageservice/http_client.h"
#include "imageservice/manifest.h"
#include "imageservice/registry_client.h"
#include "runtime/base/status.h"

namespace gantry::images {

// Takes the blob's bytes in order, each once. An error ends the download and is returned as it is.
// Called from one thread at a time.
using BlobSink = std::function<Status(std::span<const char>)>;

struct BlobOptions {
  FetchBudget* budget = nullptr;  // none: one connection
  BlobSpool* spool = nullptr;     // none: starts with the first byte, leaves nothing
};

// Downloads the blob that `descriptor` names. OK means that all of it went to `sink` and that its
// digest and size are right. A connection that breaks is resumed by Range (or, at a server without
// ranges, by skipping what is known), at the next endpoint when this one is exhausted. Errors as
// RegistryClient; kDataLoss: wrong digest, size, or range.
Status DownloadBlob(const RegistryClient& registry, HttpClient& client,
                    const Descriptor& descriptor, const BlobSink& sink,
                    const BlobOptions& options = {});

// A small blob into memory. kInvalidArgument when its descriptor says more than `limit`.
StatusOr<std::string> FetchBlob(const RegistryClient& registry, HttpClient& client,
                                const Descriptor& descriptor, size_t limit);

}  // namespace gantry::images
