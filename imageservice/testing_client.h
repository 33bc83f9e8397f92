// For tests: a RegistryClient of one repository at a server of the test.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "imageservice/blob_download.h"
#include "imageservice/registry_client.h"
#include "imageservice/testing_server.h"

namespace gantry::images {

inline std::string Text(const Status& status) { return std::string(status.message()); }

inline std::string Header(const TestRequest& request, const std::string& name) {
  const auto found = request.headers.find(name);
  return found == request.headers.end() ? "" : found->second;
}

// A client of `a/b` at `server`, with what a test changes.
struct ClientSetup {
  Credentials credentials{};
  std::chrono::milliseconds stall{60'000};
  std::vector<RegistryEndpoint> mirrors{};
  TlsOptions tls{};
  std::string scheme = "http";
  std::chrono::milliseconds dial_timeout{0};
};

inline RegistryEndpoint EndpointAt(const std::string& host, const std::string& scheme = "http") {
  RegistryEndpoint endpoint;
  endpoint.base = *ParseUrl(absl::StrCat(scheme, "://", host, "/v2"));
  return endpoint;
}

inline std::unique_ptr<RegistryClient> MakeClient(const std::string& host,
                                                  const ClientSetup& setup = {}) {
  Reference reference = *ParseReference(absl::StrCat(host, "/a/b:1"));
  auto endpoints = setup.mirrors;
  endpoints.push_back(EndpointAt(host, setup.scheme));
  endpoints.back().upstream = true;
  endpoints.back().tls = setup.tls;
  endpoints.back().dial_timeout = setup.dial_timeout;
  auto auth = *RegistryAuth::Make(setup.credentials, reference.registry, reference.repository);
  HttpTimeouts timeouts;
  timeouts.stall = setup.stall;
  return std::make_unique<RegistryClient>(std::move(endpoints), std::move(reference),
                                          std::move(auth), timeouts);
}

inline StatusOr<std::string> Download(const RegistryClient& registry, const std::string& digest,
                                      uint64_t size) {
  HttpClient client;
  Descriptor descriptor;
  descriptor.digest = digest;
  descriptor.size = size;
  std::string bytes;
  RETURN_IF_ERROR(DownloadBlob(registry, client, descriptor, [&](std::span<const char> piece) {
    bytes.append(piece.data(), piece.size());
    return absl::OkStatus();
  }));
  return bytes;
}

// Bytes that do not compress.
inline std::string Noise(size_t size) {
  std::string text(size, '\0');
  uint32_t state = 7;
  for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return text;
}

}  // namespace gantry::images
