#include "imageservice/registry_client.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "imageservice/digester.h"
#include "runtime/base/json.h"

#define JSON_NO_IO
#include "nlohmann/json.hpp"

namespace gantry::images {
namespace {

constexpr int kMaxRedirects = 5;
constexpr char kManifestTypes[] =
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json";

bool IsRedirect(long status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

std::string Printable(absl::string_view text, size_t limit) {
  std::string shown(text.substr(0, limit));
  for (char& c : shown) {
    if (c < 0x20 || c > 0x7e) c = ' ';
  }
  return shown;
}

// "CODE: message" of the first error in the API's error document, or empty.
std::string ErrorText(const std::string& body) {
  const StatusOr<nlohmann::json> document =
      ParseJson(body, {.max_bytes = 64 << 10, .max_depth = 16, .max_values = 1000});
  if (!document.ok() || !document->is_object()) return "";
  Status status;
  std::string text;
  JsonReader(*document, status).ForEach("errors", [&](JsonReader error) {
    std::string code, message;
    error.Read("code", code);
    error.Read("message", message);
    if (text.empty())
      text = absl::StrCat(code, code.empty() || message.empty() ? "" : ": ", message);
  });
  return Printable(text, 200);
}

// Retry-After: seconds or a date (RFC 9110 section 10.2.3).
std::optional<std::chrono::milliseconds> ReadRetryAfter(absl::string_view text) {
  int64_t seconds = 0;
  if (absl::SimpleAtoi(text, &seconds))
    return std::chrono::seconds(std::clamp<int64_t>(seconds, 0, 3600));
  absl::Time when;
  if (!absl::ParseTime("%a, %d %b %Y %H:%M:%S GMT", text, &when, nullptr)) return std::nullopt;
  return std::max(absl::ToChronoMilliseconds(when - absl::Now()), std::chrono::milliseconds(0));
}

// The answer as a manifest, when digest and size are those that were asked for. A tag's digest is
// what the registry claims in Docker-Content-Digest, when it does.
StatusOr<FetchedManifest> CheckManifest(HttpResponse response, const std::string& target,
                                        uint64_t size) {
  const std::string claimed(response.Header("docker-content-digest"));
  const std::string& expected = IsDigest(target) ? target : claimed;
  FetchedManifest manifest{std::move(response.body), std::string(response.Header("content-type")),
                           "", ""};
  ASSIGN_OR_RETURN(manifest.digest,
                   DigestOf(manifest.bytes, IsDigest(expected) ? expected : "sha256"));
  if (IsDigest(expected) && manifest.digest != expected) {
    return absl::DataLossError(
        absl::StrCat("the manifest has digest ", manifest.digest, ", not ", expected));
  }
  if (size != 0 && manifest.bytes.size() != size) {
    return absl::DataLossError(absl::StrCat("the manifest has ", manifest.bytes.size(),
                                            " bytes, not the ", size, " of its descriptor"));
  }
  return manifest;
}

}  // namespace

Status AnswerError(const HttpResponse& response) {
  const std::string said = ErrorText(response.body);
  const std::string text = absl::StrCat("HTTP ", response.status, said.empty() ? "" : ": ", said);
  if (response.status == 404 || response.status == 410) return absl::NotFoundError(text);
  if (response.status == 403) return absl::PermissionDeniedError(text);
  if (response.status != 429) return absl::UnavailableError(text);
  const absl::string_view after = response.Header("retry-after");
  return absl::UnavailableError(absl::StrCat(
      text, " (rate limit", after.empty() ? "" : ", retry after ", Printable(after, 40), ")"));
}

RegistryClient::RegistryClient(std::vector<RegistryEndpoint> endpoints, Reference reference,
                               std::unique_ptr<RegistryAuth> auth, HttpTimeouts timeouts,
                               const std::vector<HostReport>& known)
    : endpoints_(std::move(endpoints)),
      reference_(std::move(reference)),
      auth_(std::move(auth)),
      timeouts_(timeouts) {
  health_->Merge(known);
}

std::vector<const RegistryEndpoint*> RegistryClient::Candidates(bool by_digest) const {
  std::vector<const RegistryEndpoint*> able, alive;
  bool any_usable = false;
  for (const RegistryEndpoint& endpoint : endpoints_) {
    if (by_digest ? !endpoint.can_pull : !endpoint.can_resolve) continue;
    able.push_back(&endpoint);
    const bool usable = health_->Usable(endpoint.base.Origin());
    any_usable = any_usable || usable;
    // The registry itself is the last to be asked, and the one that knows: a mirror alone would
    // make "not found" of what it has no copy of.
    if (usable || endpoint.upstream) alive.push_back(&endpoint);
  }
  return any_usable ? alive : able;
}

Status RegistryClient::AskAnyone(bool by_digest, absl::string_view path, const Asker& ask) const {
  const std::vector<const RegistryEndpoint*> candidates = Candidates(by_digest);
  EndpointRace race(candidates.size(), [&](size_t index, EndpointRace::Lane& lane) {
    const RegistryEndpoint& endpoint = *candidates[index];
    const auto start = HostHealth::Clock::now();
    const Status status = ask(endpoint, lane);
    if (lane.lost()) {
      // Called off because another was faster; the next question shall not wait for it again.
      if (HostHealth::Clock::now() - start >= kHedgeAfter)
        health_->GiveUp(endpoint.base.Origin(), "it was silent while another server answered");
      return status;
    }
    if (absl::IsUnavailable(status) || absl::IsDataLoss(status))
      health_->GiveUp(endpoint.base.Origin(), status.message());
    return Annotate(status, Shown(endpoint, path));
  });
  const Status status = race.Run();
  if (status.ok()) return status;
  std::string before;
  for (const auto& failure : race.failures()) {
    if (!failure.has_value() || *failure == status) continue;
    absl::StrAppend(&before, before.empty() ? "" : "; ", failure->message());
  }
  for (const RegistryEndpoint& endpoint : endpoints_) {
    const bool able = by_digest ? endpoint.can_pull : endpoint.can_resolve;
    if (!able || std::count(candidates.begin(), candidates.end(), &endpoint) > 0) continue;
    absl::StrAppend(&before, before.empty() ? "" : "; ", endpoint.base.Origin(),
                    " is left out for now: ", health_->ReasonOf(endpoint.base.Origin()));
  }
  if (before.empty()) return status;
  return Status(status.code(), absl::StrCat(status.message(), " (before that: ", before, ")"));
}

Status RegistryClient::Persist(const RegistryEndpoint& endpoint, const Attempt& attempt,
                               const std::function<bool()>& stop) const {
  const std::string origin = endpoint.base.Origin();
  // The host's count starts anew whenever another blob gets on; this one's does not.
  for (int tries = 1;; ++tries) {
    health_->AwaitTurn(origin, stop);
    const HostHealth::Clock::time_point sent = HostHealth::Clock::now();
    Outcome outcome;
    const Status status = attempt(outcome);
    if (status.ok() || outcome.progressed) {
      health_->Progressed(origin);
      tries = 0;
    }
    if (status.ok() || (stop && stop()) || tries == kMaxTries ||
        !WorthRetry(endpoint, sent, status, outcome.retry_after))
      return status;
  }
}

bool RegistryClient::HasOther() const {
  const std::vector<HostReport> failing = health_->Failing();
  return std::any_of(endpoints_.begin(), endpoints_.end(), [&](const RegistryEndpoint& endpoint) {
    return endpoint.can_pull && std::none_of(failing.begin(), failing.end(), [&](const auto& host) {
             return host.origin == endpoint.base.Origin();
           });
  });
}

bool RegistryClient::WorthRetry(const RegistryEndpoint& endpoint,
                                HostHealth::Clock::time_point sent, const Status& failure,
                                absl::string_view retry_after) const {
  return absl::IsUnavailable(failure) &&
         health_->Retry(endpoint.base.Origin(), sent, ReadRetryAfter(retry_after)).has_value();
}

Url RegistryClient::UrlOf(const RegistryEndpoint& endpoint, absl::string_view path) const {
  Url url = endpoint.base;
  absl::StrAppend(&url.path, "/", reference_.repository, "/", path);
  url.query = endpoint.query;
  return url;
}

std::string RegistryClient::Shown(const RegistryEndpoint& endpoint, absl::string_view path) const {
  return UrlOf(endpoint, path).Shown();
}

StatusOr<HttpResponse> RegistryClient::Ask(HttpClient& client, const RegistryEndpoint& endpoint,
                                           const Request& request) const {
  // One new token, as the present one may have run out; a second one when the registry says that
  // the first does not cover this.
  for (int round = 0;; ++round) {
    const std::string used = auth_->Authorization(endpoint);
    ASSIGN_OR_RETURN(HttpResponse response, Follow(client, endpoint, request, used));
    const bool another = WantsAnotherToken(response);
    if (response.status != 401 && (!another || round == 2)) return response;
    if (round == 2 || (round == 1 && !another) || absl::StartsWith(used, "Basic ")) {
      const std::string said = ErrorText(response.body);
      return absl::UnauthenticatedError(
          absl::StrCat("it does not exist, or is not for us (", auth_->Who(endpoint), "): HTTP ",
                       response.status, said.empty() ? "" : ": ", said));
    }
    RETURN_IF_ERROR(auth_->Answer(client, endpoint, response, used));
  }
}

StatusOr<HttpResponse> RegistryClient::Follow(HttpClient& client, const RegistryEndpoint& endpoint,
                                              const Request& request,
                                              const std::string& authorization) const {
  HttpRequest http;
  http.url = UrlOf(endpoint, request.path);
  http.headers = request.headers;
  http.tls = endpoint.tls;
  http.timeouts = timeouts_;
  http.max_body = request.max_body;
  http.on_body = request.on_body;
  http.on_head = request.on_head;
  http.cancelled = request.cancelled;
  if (endpoint.dial_timeout.count() > 0) http.timeouts.connect = endpoint.dial_timeout;
  for (const auto& header : endpoint.headers) http.headers.push_back(header);
  if (!authorization.empty()) http.headers.emplace_back("Authorization", authorization);
  for (int redirects = 0;; ++redirects) {
    ASSIGN_OR_RETURN(HttpResponse response, client.Exchange(http));
    const bool elsewhere = http.url.Origin() != endpoint.base.Origin();
    if (elsewhere && (response.status >= 400 && response.status <= 403)) {
      // A signed link that has run out (400 at some stores); asked again, the registry gives a new
      // one. Its challenges are nobody's business.
      return absl::UnavailableError(
          absl::StrCat("redirected to ", http.url.Shown(), ": HTTP ", response.status));
    }
    if (!IsRedirect(response.status)) return response;
    if (redirects == kMaxRedirects) return absl::UnavailableError("more than 5 redirects");
    StatusOr<Url> next = ResolveUrl(http.url, std::string(response.Header("location")));
    if (!next.ok())
      return absl::UnavailableError(absl::StrCat("redirect: ", next.status().message()));
    if (http.url.scheme == "https" && next->scheme != "https") {
      return absl::UnavailableError(
          absl::StrCat("redirect from https to ", next->Shown(), " is refused"));
    }
    // What proves who we are goes to the endpoint alone, and does not come back into the chain
    // (CVE-2020-15157).
    if (next->Origin() != http.url.Origin()) {
      http.headers = request.headers;
      http.tls.client_cert = http.tls.client_key = "";
    }
    http.url = *std::move(next);
  }
}

StatusOr<FetchedManifest> RegistryClient::ManifestFrom(HttpClient& client,
                                                       const RegistryEndpoint& endpoint,
                                                       const std::string& target, uint64_t size,
                                                       EndpointRace::Lane& lane) const {
  Request request;
  request.path = absl::StrCat("manifests/", target);
  request.headers = {{"Accept", kManifestTypes}};
  request.max_body = kMaxManifestBytes;
  request.cancelled = [&lane] { return lane.lost(); };
  StatusOr<FetchedManifest> manifest = absl::UnknownError("not asked");
  const Status status = Persist(
      endpoint,
      [&](Outcome& outcome) -> Status {
        ASSIGN_OR_RETURN(HttpResponse response, Ask(client, endpoint, request));
        outcome.retry_after = std::string(response.Header("retry-after"));
        if (response.status != 200) return AnswerError(response);
        manifest = CheckManifest(std::move(response), target, size);
        return manifest.status();
      },
      request.cancelled);
  if (!status.ok()) return status;
  return manifest;
}

// Registries say "not found" and "denied" for what only the right login may see.
Status RegistryClient::Explained(const Status& failure, const RegistryEndpoint& endpoint) const {
  if (!absl::IsNotFound(failure) && !absl::IsPermissionDenied(failure)) return failure;
  return Status(failure.code(),
                absl::StrCat(failure.message(),
                             " (it is not there, or not for us: ", auth_->Who(endpoint), ")"));
}

StatusOr<FetchedManifest> RegistryClient::FetchManifest(HttpClient& client,
                                                        const std::string& target,
                                                        uint64_t size) const {
  const std::string path = absl::StrCat("manifests/", target);
  FetchedManifest fetched;
  std::atomic<bool> first{true};
  RETURN_IF_ERROR(AskAnyone(
      IsDigest(target), path,
      [&](const RegistryEndpoint& endpoint, EndpointRace::Lane& lane) -> Status {
        // Whoever is first has the caller's connections.
        HttpClient own;
        HttpClient& mine = first.exchange(false) ? client : own;
        StatusOr<FetchedManifest> answer = ManifestFrom(mine, endpoint, target, size, lane);
        if (!answer.ok()) return Explained(answer.status(), endpoint);
        FetchedManifest manifest = *std::move(answer);
        manifest.from = Shown(endpoint, path);
        if (!lane.Claim()) return absl::CancelledError("another server was faster");
        health_->Answered(endpoint.base.Origin());
        fetched = std::move(manifest);
        return absl::OkStatus();
      }));
  return fetched;
}

}  // namespace gantry::images
