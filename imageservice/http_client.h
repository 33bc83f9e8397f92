// One HTTP exchange at a time over a kept connection: libcurl, fenced. Redirects are not followed
// here, because what a redirect may be sent is the caller's rule; bodies go to a sink as they come.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

#include "imageservice/proxy.h"
#include "imageservice/url.h"
#include "runtime/base/status.h"

namespace gantry::images {

// How a TLS peer is checked and who we are to it. PEM texts, not paths: the puller cannot read
// files once it is confined.
struct TlsOptions {
  std::string extra_ca{};                   // trusted beside the system's
  std::string client_cert{}, client_key{};  // both or none
  bool skip_verify = false;
};

struct HttpTimeouts {
  std::chrono::milliseconds connect{10'000};
  // No byte for so long while we wait for one, or fewer than kMinBytesPerSecond of them.
  std::chrono::milliseconds stall{60'000};
};
inline constexpr uint64_t kMinBytesPerSecond = 512;

struct HttpRequest {
  Url url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string form;  // when set: a POST of this form
  TlsOptions tls;
  HttpTimeouts timeouts;
  size_t max_body = 64 << 10;  // of HttpResponse::body
  // Takes the body of a 200 or 206 answer instead of HttpResponse::body, after `on_head`. An error
  // ends the exchange and is returned as it is. The time spent here does not count as a stall.
  std::function<Status(std::span<const char>)> on_body;
  // Called before the first byte for `on_body`, with an answer whose body is empty.
  std::function<Status(const struct HttpResponse&)> on_head;
  // Polled about ten times a second; true ends the exchange with kCancelled. May be empty.
  std::function<bool()> cancelled;
};

struct HttpResponse {
  long status = 0;
  std::multimap<std::string, std::string> headers;  // names in lower case
  std::string body;  // cut at max_body for answers other than 200 and 206

  // The first header of that name, or empty.
  absl::string_view Header(absl::string_view lower_case_name) const;
};

// A connection cache. One thread at a time.
class HttpClient {
 public:
  HttpClient();
  ~HttpClient();

  // Any HTTP status is an answer and OK. kUnavailable: no connection, TLS refused, reset, cut
  // short, stalled: worth a retry. kResourceExhausted: the body of a 200 is longer than max_body.
  // A connection whose exchange ended in an error is closed.
  StatusOr<HttpResponse> Exchange(const HttpRequest& request);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The proxies of all requests from now on; none before the first call. Nothing of the environment
// is used. Call before threads start.
void UseProxies(ProxySettings settings);

// The system's certificates as PEM, read once before confinement; empty when there are none.
void LoadSystemCertificates();

}  // namespace gantry::images
