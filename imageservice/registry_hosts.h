// Where to ask for an image: the registry itself and its mirrors, as containerd's hosts.toml says
// (https://github.com/containerd/containerd/blob/main/docs/hosts.md), or docker's certs.d files.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

#include "imageservice/http_client.h"
#include "runtime/base/status.h"

namespace gantry::images {

// One server that speaks the distribution API.
struct RegistryEndpoint {
  Url base;                 // with the API's root: …/v2
  bool can_resolve = true;  // manifests by tag
  bool can_pull = true;     // manifests and blobs by digest
  bool upstream = false;    // the registry itself, or the server that is named in its place
  std::string query;        // ns=<registry> for a mirror, else empty
  std::vector<std::pair<std::string, std::string>> headers;
  TlsOptions tls;
  std::chrono::milliseconds dial_timeout{0};  // 0: the default
};

// In the order to try them; never empty. `registry` is Reference::registry; `config_path` holds one
// or more directories separated by colons, each with <host>/hosts.toml, <host>_<port>_/hosts.toml
// and _default/hosts.toml; empty: none. Reads the certificates that it finds. kFailedPrecondition:
// a file is malformed or cannot be read; the text names it.
StatusOr<std::vector<RegistryEndpoint>> FindEndpoints(const std::string& registry,
                                                      const std::string& config_path);

// The part of FindEndpoints that reads no directory: `text` is the content of
// `directory`/hosts.toml.
StatusOr<std::vector<RegistryEndpoint>> ParseHostsToml(const std::string& registry,
                                                       const std::string& directory,
                                                       absl::string_view text);

}  // namespace gantry::images
