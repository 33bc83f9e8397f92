// The distribution API's reading half (distribution spec/api.md, OCI distribution-spec), over a
// list of endpoints: authentication, redirects, retries with back-off, mirrors in order. What
// arrives is hashed before it is believed.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

#include "imageservice/endpoint_race.h"
#include "imageservice/host_health.h"
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

// A server that sends less than this between two failures makes no progress that is worth new
// tries.
inline constexpr uint64_t kWorthNewTries = 1 << 20;

// Errors of all methods: kNotFound, kUnavailable (nobody answers, or not in a usable way),
// kUnauthenticated, kPermissionDenied, kDataLoss (wrong digest or size). Texts name the URL,
// without its query, and the cause; when several endpoints failed, the last one's code counts and
// the others' texts follow. Any thread, each with its own HttpClient.
class RegistryClient {
 public:
  // `known`: what earlier pulls learnt of the servers.
  RegistryClient(std::vector<RegistryEndpoint> endpoints, Reference reference,
                 std::unique_ptr<RegistryAuth> auth, HttpTimeouts timeouts,
                 const std::vector<HostReport>& known = {});

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
    std::function<bool()> cancelled;
  };
  StatusOr<HttpResponse> Ask(HttpClient& client, const RegistryEndpoint& endpoint,
                             const Request& request) const;

  // The URL of `path` there, for texts.
  std::string Shown(const RegistryEndpoint& endpoint, absl::string_view path) const;

  // The endpoints that may be asked, in order. Those whose circuit is open are left out while there
  // are others: a dead mirror costs its time once, not once a blob or a pull.
  std::vector<const RegistryEndpoint*> Candidates(bool by_digest) const;
  // Asks the candidates for one thing until one gives it: EndpointRace. `ask` makes one attempt;
  // one that is worth it is repeated by Persist. The status of a failure names every server that
  // was asked, and each that was left out, with the reasons.
  using Asker = std::function<Status(const RegistryEndpoint&, EndpointRace::Lane&)>;
  Status AskAnyone(bool by_digest, absl::string_view path, const Asker& ask) const;
  // Calls `attempt` until it is OK, fails in a way that is not worth another try, or this request
  // or the host has had its tries: its last status. Waits for the host's turn, but not longer than
  // until `stop` is true.
  struct Outcome {
    std::string retry_after;  // the answer's header
    bool progressed = false;  // it brought kWorthNewTries
  };
  using Attempt = std::function<Status(Outcome& outcome)>;
  Status Persist(const RegistryEndpoint& endpoint, const Attempt& attempt,
                 const std::function<bool()>& stop) const;
  // True when a request that was sent at `sent` and failed should be made again, once it is the
  // host's turn (HostHealth::AwaitTurn).
  bool WorthRetry(const RegistryEndpoint& endpoint, HostHealth::Clock::time_point sent,
                  const Status& failure, absl::string_view retry_after) const;
  // True when there is a server for blobs that has not failed lately.
  bool HasOther() const;
  HostHealth& health() const { return *health_; }
  const Reference& reference() const { return reference_; }

 private:
  Url UrlOf(const RegistryEndpoint& endpoint, absl::string_view path) const;
  StatusOr<HttpResponse> Follow(HttpClient& client, const RegistryEndpoint& endpoint,
                                const Request& request, const std::string& authorization) const;
  Status Explained(const Status& failure, const RegistryEndpoint& endpoint) const;
  StatusOr<FetchedManifest> ManifestFrom(HttpClient& client, const RegistryEndpoint& endpoint,
                                         const std::string& target, uint64_t size,
                                         EndpointRace::Lane& lane) const;

  const std::vector<RegistryEndpoint> endpoints_;
  const Reference reference_;
  const std::unique_ptr<RegistryAuth> auth_;
  const HttpTimeouts timeouts_;
  const std::unique_ptr<HostHealth> health_ = std::make_unique<HostHealth>();
};

// The status that an HTTP answer other than 200 or 206 means: 404 kNotFound, 403 kPermissionDenied,
// 429 and 5xx kUnavailable, others kUnavailable too. The text holds what the registry said, made
// printable.
Status AnswerError(const HttpResponse& response);

}  // namespace gantry::images
