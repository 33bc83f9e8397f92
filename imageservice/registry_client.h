// The distribution API's reading half (distribution spec/api.md, OCI distribution-spec), over a
// list of endpoints: authentication, redirects, retries with back-off, mirrors in order. What
// arrives is hashed before it is believed.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

#include "imageservice/http_client.h"
#include "imageservice/manifest.h"
#include "imageservice/reference.h"
#include "imageservice/registry_auth.h"
#include "imageservice/registry_hosts.h"
#include "runtime/base/status.h"

namespace gantry::images {

struct FetchedManifest {
  std::string bytes;
  std::string content_type;
  std::string digest;  // computed, sha256 unless it was asked for by another one
  std::string from;    // the URL that gave it, for texts
};

// Errors of all methods: kNotFound, kUnavailable (nobody answers, or not in a usable way),
// kUnauthenticated, kPermissionDenied, kDataLoss (wrong digest or size). Texts name the URL,
// without its query, and the cause; when several endpoints failed, the last one's code counts and
// the others' texts follow. Any thread, each with its own HttpClient.
class RegistryClient {
 public:
  RegistryClient(std::vector<RegistryEndpoint> endpoints, Reference reference,
                 std::unique_ptr<RegistryAuth> auth, HttpTimeouts timeouts);

  // `target`: a tag or a digest. `size`: what a descriptor said; 0: unknown.
  StatusOr<FetchedManifest> FetchManifest(HttpClient& client, const std::string& target,
                                          uint64_t size) const;

  // One request to one endpoint, authenticated and redirected; `path` is relative to the repository
  // ("blobs/sha256:…"). Any status but 401 and redirects is returned: 401 has become
  // kUnauthenticated. Not retried.
  struct Request {
    std::string path;
    std::vector<std::pair<std::string, std::string>> headers;
    size_t max_body = 64 << 10;
    std::function<Status(std::span<const char>)> on_body;
    std::function<Status(const HttpResponse&)> on_head;
  };
  StatusOr<HttpResponse> Ask(HttpClient& client, const RegistryEndpoint& endpoint,
                             const Request& request) const;

  // The URL of `path` there, for texts.
  std::string Shown(const RegistryEndpoint& endpoint, absl::string_view path) const;

  // The endpoints that may be asked, in order. One that did not answer is left out from then on,
  // while there are others: a dead mirror costs its time once a pull, not once a blob.
  std::vector<const RegistryEndpoint*> Candidates(bool by_digest) const;
  void NoteFailure(const RegistryEndpoint& endpoint, const Status& failure) const;
  const Reference& reference() const { return reference_; }

 private:
  Url UrlOf(const RegistryEndpoint& endpoint, absl::string_view path) const;
  StatusOr<HttpResponse> Follow(HttpClient& client, const RegistryEndpoint& endpoint,
                                const Request& request, const std::string& authorization) const;
  Status Explained(const Status& failure, const RegistryEndpoint& endpoint) const;
  StatusOr<FetchedManifest> ManifestFrom(HttpClient& client, const RegistryEndpoint& endpoint,
                                         const std::string& target, uint64_t size) const;

  const std::vector<RegistryEndpoint> endpoints_;
  const Reference reference_;
  const std::unique_ptr<RegistryAuth> auth_;
  const HttpTimeouts timeouts_;
  mutable std::mutex mutex_;
  mutable std::set<const RegistryEndpoint*> silent_;
};

// The status that an HTTP answer other than 200 or 206 means: 404 kNotFound, 403 kPermissionDenied,
// 429 and 5xx kUnavailable, others kUnavailable too. The text holds what the registry said, made
// printable.
Status AnswerError(const HttpResponse& response);

// What several endpoints said: the last one's code, and the texts of all.
class EndpointFailures {
 public:
  void Add(const Status& failure);
  bool empty() const { return last_.ok(); }
  // kUnavailable when none was asked.
  Status Summary() const;

 private:
  Status last_;
  std::string before_;
};

// How long to wait before try number `attempt` (from 1) after `failure`: Retry-After when there is
// one (at most a minute), else 0.2 s doubling, with jitter. Nothing when it is not worth another
// try.
class RetryPolicy {
 public:
  std::optional<std::chrono::milliseconds> Next(const Status& failure,
                                                absl::string_view retry_after);
  // Bytes came: the count starts again.
  void Progressed() { attempts_ = 0; }

 private:
  int attempts_ = 0;
};

}  // namespace gantry::images
