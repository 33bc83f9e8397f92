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
  std::vector<std::string> tls_files;         // where `tls` came from, for people
  std::chrono::milliseconds dial_timeout{0};  // 0: the default
};

struct RegistryHosts {
  std::vector<RegistryEndpoint> endpoints;  // in the order to try them; never empty
  std::string source;                       // the file or folder that decided; empty: none is there
  std::vector<std::string> notes;           // what was ignored in it
};

// `registry` is Reference::registry; `config_path` holds one or more directories separated by
// colons, each with <host>/, <host>_<port>_/ and _default/; empty: none. The first directory that
// is there decides, with its hosts.toml or, without one (or with an empty one), docker's *.crt,
// *.cert and *.key. Reads the certificates that it finds. kFailedPrecondition: a file is malformed
// or cannot be read; the text names it (containerd falls back to defaults there, and asks hosts
// that nobody meant). Unknown keys are ignored, as containerd does, and noted.
StatusOr<RegistryHosts> FindHosts(const std::string& registry, const std::string& config_path);

// The part of FindHosts that reads no directory: `text` is the content of `directory`/hosts.toml.
StatusOr<RegistryHosts> ParseHostsToml(const std::string& registry, const std::string& directory,
                                       absl::string_view text);

}  // namespace gantry::images
