#include "imageservice/registry_hosts.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#define TOML_EXCEPTIONS 0
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "toml++/toml.h"

#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

constexpr size_t kMaxHostsToml = 1 << 20;
constexpr size_t kMaxPem = 4 << 20;
constexpr size_t kMaxEndpoints = 32;

Status Misconfigured(absl::string_view where, absl::string_view problem) {
  return absl::FailedPreconditionError(absl::StrCat(where, ": ", problem));
}

StatusOr<std::string> ReadPem(const std::string& directory, const std::string& name) {
  const std::string path = absl::StartsWith(name, "/") ? name : absl::StrCat(directory, "/", name);
  StatusOr<std::string> text = ReadFileAt(AT_FDCWD, path, kMaxPem);
  if (!text.ok()) return Misconfigured(path, text.status().message());
  return text;
}

// The address as containerd reads it: https without a scheme (http on loopback), the API's root
// behind the path.
StatusOr<Url> EndpointUrl(absl::string_view address, bool override_path) {
  std::string text(address);
  if (!absl::StrContains(address, "://")) {
    const absl::string_view host = address.substr(0, address.find('/'));
    text = absl::StrCat(IsLoopbackHost(host) ? "http://" : "https://", address);
  }
  ASSIGN_OR_RETURN(Url url, ParseUrl(text));
  if (url.host == "docker.io") url.host = "registry-1.docker.io";
  while (absl::EndsWith(url.path, "/")) url.path.pop_back();
  if (!override_path && !absl::EndsWith(url.path, "/v2")) absl::StrAppend(&url.path, "/v2");
  return url;
}

// One table of a hosts.toml (the root table describes the server itself).
class HostTable {
 public:
  HostTable(const toml::table& table, const std::string& directory, std::string name)
      : table_(table), directory_(directory), name_(std::move(name)) {}

  StatusOr<RegistryEndpoint> Read(absl::string_view address) const {
    RegistryEndpoint endpoint;
    bool override_path = false;
    RETURN_IF_ERROR(ReadBool("override_path", override_path));
    StatusOr<Url> url = EndpointUrl(address, override_path);
    if (!url.ok()) return Misconfigured(Where(), url.status().message());
    endpoint.base = *std::move(url);
    RETURN_IF_ERROR(ReadBool("skip_verify", endpoint.tls.skip_verify));
    RETURN_IF_ERROR(ReadCapabilities(endpoint));
    RETURN_IF_ERROR(ReadCa(endpoint.tls));
    RETURN_IF_ERROR(ReadClient(endpoint.tls));
    RETURN_IF_ERROR(ReadHeaders(endpoint));
    RETURN_IF_ERROR(ReadDialTimeout(endpoint));
    return endpoint;
  }

 private:
  std::string Where() const {
    return absl::StrCat(directory_, "/hosts.toml", name_.empty() ? "" : ": ", name_);
  }
  Status Wrong(absl::string_view key, absl::string_view problem) const {
    return Misconfigured(Where(), absl::StrCat(key, " ", problem));
  }

  Status ReadBool(const char* key, bool& out) const {
    const toml::node* node = table_.get(key);
    if (node == nullptr) return absl::OkStatus();
    if (!node->is_boolean()) return Wrong(key, "must be true or false");
    out = node->as_boolean()->get();
    return absl::OkStatus();
  }

  // A string, or an array of strings.
  StatusOr<std::vector<std::string>> Strings(const toml::node& node, absl::string_view key) const {
    std::vector<std::string> texts;
    if (const auto* text = node.as_string()) {
      texts.push_back(text->get());
      return texts;
    }
    const toml::array* array = node.as_array();
    if (array == nullptr) return Wrong(key, "must be a string or a list of strings");
    for (const toml::node& element : *array) {
      if (!element.is_string()) return Wrong(key, "must hold strings");
      texts.push_back(element.as_string()->get());
    }
    return texts;
  }

  Status ReadCapabilities(RegistryEndpoint& endpoint) const {
    const toml::node* node = table_.get("capabilities");
    if (node == nullptr) return absl::OkStatus();
    if (!node->is_array()) return Wrong("capabilities", "must be a list");
    ASSIGN_OR_RETURN(const auto names, Strings(*node, "capabilities"));
    endpoint.can_resolve = endpoint.can_pull = false;
    for (const std::string& name : names) {
      if (name == "resolve") {
        endpoint.can_resolve = true;
      } else if (name == "pull") {
        endpoint.can_pull = true;
      } else if (name != "push" && name != "referrers") {
        return Wrong("capabilities", absl::StrCat("has the unknown name \"", name, "\""));
      }
    }
    return absl::OkStatus();
  }

  Status ReadCa(TlsOptions& tls) const {
    const toml::node* node = table_.get("ca");
    if (node == nullptr) return absl::OkStatus();
    ASSIGN_OR_RETURN(const auto names, Strings(*node, "ca"));
    for (const std::string& name : names) {
      ASSIGN_OR_RETURN(const std::string pem, ReadPem(directory_, name));
      absl::StrAppend(&tls.extra_ca, pem, "\n");
    }
    return absl::OkStatus();
  }

  // "both.pem", ["both.pem"], or [["cert.pem", "key.pem"], …]: the first pair is used, as one
  // connection shows one.
  Status ReadClient(TlsOptions& tls) const {
    const toml::node* node = table_.get("client");
    if (node == nullptr) return absl::OkStatus();
    std::vector<std::string> pair;
    const toml::array* array = node->as_array();
    if (array != nullptr && !array->empty() && array->get(0)->is_array()) {
      ASSIGN_OR_RETURN(pair, Strings(*array->get(0), "client"));
    } else {
      ASSIGN_OR_RETURN(pair, Strings(*node, "client"));
      pair.resize(std::min<size_t>(pair.size(), 1));
    }
    if (pair.empty() || pair.size() > 2)
      return Wrong("client", "must be pairs of certificate and key");
    if (pair.size() == 1 || pair[1].empty()) pair = {pair[0], pair[0]};
    ASSIGN_OR_RETURN(tls.client_cert, ReadPem(directory_, pair[0]));
    ASSIGN_OR_RETURN(tls.client_key, ReadPem(directory_, pair[1]));
    return absl::OkStatus();
  }

  Status ReadHeaders(RegistryEndpoint& endpoint) const {
    const toml::node* node = table_.get("header");
    if (node == nullptr) return absl::OkStatus();
    if (!node->is_table()) return Wrong("header", "must be a table");
    for (const auto& [key, values] : *node->as_table()) {
      const std::string name(key.str());
      ASSIGN_OR_RETURN(const auto texts, Strings(values, absl::StrCat("header.", name)));
      for (const std::string& text : texts) {
        if (absl::StrContains(name + text, '\n') || absl::StrContains(name + text, '\r')) {
          return Wrong(absl::StrCat("header.", name), "must not hold a line break");
        }
        endpoint.headers.emplace_back(name, text);
      }
    }
    return absl::OkStatus();
  }

  Status ReadDialTimeout(RegistryEndpoint& endpoint) const {
    const toml::node* node = table_.get("dial_timeout");
    if (node == nullptr) return absl::OkStatus();
    absl::Duration timeout;
    if (!node->is_string() || !absl::ParseDuration(node->as_string()->get(), &timeout) ||
        timeout <= absl::ZeroDuration()) {
      return Wrong("dial_timeout", "must be a duration such as \"3s\"");
    }
    endpoint.dial_timeout = absl::ToChronoMilliseconds(timeout);
    return absl::OkStatus();
  }

  const toml::table& table_;
  const std::string& directory_;
  const std::string name_;
};

StatusOr<RegistryEndpoint> DefaultEndpoint(const std::string& registry) {
  RegistryEndpoint endpoint;
  ASSIGN_OR_RETURN(endpoint.base, EndpointUrl(registry, /*override_path=*/false));
  endpoint.upstream = true;
  return endpoint;
}

// A mirror learns from ?ns= whose images are asked for.
void MarkMirror(const std::string& registry, RegistryEndpoint& endpoint) {
  const std::string upstream = registry == "docker.io" ? "registry-1.docker.io" : registry;
  if (endpoint.base.HostPort() != upstream)
    endpoint.query = absl::StrCat("ns=", PercentEncode(registry));
}

// Docker's form: *.crt are authorities, x.cert and x.key a client's pair.
Status ReadDockerCertificates(const std::string& directory, TlsOptions& tls) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end;
       at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  if (error) return Misconfigured(directory, error.message());
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    if (absl::EndsWith(name, ".crt")) {
      ASSIGN_OR_RETURN(const std::string pem, ReadPem(directory, name));
      absl::StrAppend(&tls.extra_ca, pem, "\n");
    } else if (absl::EndsWith(name, ".cert") && tls.client_cert.empty()) {
      ASSIGN_OR_RETURN(tls.client_cert, ReadPem(directory, name));
      ASSIGN_OR_RETURN(tls.client_key, ReadPem(directory, name.substr(0, name.size() - 4) + "key"));
    }
  }
  return absl::OkStatus();
}

// The first directory of `config_path` that is there for `registry`, or empty.
std::string FindDirectory(const std::string& registry, const std::string& config_path) {
  const size_t colon = registry.rfind(':');
  std::vector<std::string> names = {registry, "_default"};
  if (colon != std::string::npos && !absl::EndsWith(registry, "]")) {
    // For file systems without colons in names.
    names.insert(names.begin(),
                 absl::StrCat(registry.substr(0, colon), "_", registry.substr(colon + 1), "_"));
  }
  for (const absl::string_view root : absl::StrSplit(config_path, ':', absl::SkipEmpty())) {
    for (const std::string& name : names) {
      std::error_code error;
      const std::string directory = absl::StrCat(root, "/", name);
      if (std::filesystem::is_directory(directory, error)) return directory;
    }
  }
  return "";
}

// The [host."…"] tables in the order of the file: the parser sorts them by name.
std::vector<std::pair<std::string, const toml::table*>> MirrorsInOrder(const toml::table& root) {
  std::vector<std::pair<std::string, const toml::table*>> mirrors;
  const toml::table* hosts = root["host"].as_table();
  if (hosts == nullptr) return mirrors;
  for (const auto& [key, node] : *hosts) {
    if (node.is_table()) mirrors.emplace_back(std::string(key.str()), node.as_table());
  }
  const auto line = [](const auto& mirror) { return mirror.second->source().begin.line; };
  std::stable_sort(mirrors.begin(), mirrors.end(),
                   [&](const auto& a, const auto& b) { return line(a) < line(b); });
  return mirrors;
}

}  // namespace

StatusOr<std::vector<RegistryEndpoint>> ParseHostsToml(const std::string& registry,
                                                       const std::string& directory,
                                                       absl::string_view text) {
  const toml::parse_result parsed = toml::parse(std::string_view(text.data(), text.size()));
  if (!parsed) {
    return Misconfigured(
        absl::StrCat(directory, "/hosts.toml:", parsed.error().source().begin.line),
        std::string(parsed.error().description()));
  }
  const toml::table& root = parsed.table();
  std::vector<RegistryEndpoint> endpoints;
  for (const auto& [address, table] : MirrorsInOrder(root)) {
    if (endpoints.size() == kMaxEndpoints) return Misconfigured(directory, "more than 32 hosts");
    ASSIGN_OR_RETURN(
        RegistryEndpoint endpoint,
        HostTable(*table, directory, absl::StrCat("host \"", address, "\"")).Read(address));
    MarkMirror(registry, endpoint);
    endpoints.push_back(std::move(endpoint));
  }
  const toml::node* server_node = root.get("server");
  if (server_node != nullptr && !server_node->is_string()) {
    return Misconfigured(directory + "/hosts.toml", "server must be a string");
  }
  const std::string server = server_node == nullptr ? "" : server_node->as_string()->get();
  ASSIGN_OR_RETURN(RegistryEndpoint endpoint,
                   HostTable(root, directory, "").Read(server.empty() ? registry : server));
  MarkMirror(registry, endpoint);
  endpoint.upstream = true;
  endpoints.push_back(std::move(endpoint));
  return endpoints;
}

StatusOr<std::vector<RegistryEndpoint>> FindEndpoints(const std::string& registry,
                                                      const std::string& config_path) {
  const std::string directory = FindDirectory(registry, config_path);
  ASSIGN_OR_RETURN(RegistryEndpoint upstream, DefaultEndpoint(registry));
  if (directory.empty()) return std::vector<RegistryEndpoint>{std::move(upstream)};
  const StatusOr<std::string> text = ReadFileAt(AT_FDCWD, directory + "/hosts.toml", kMaxHostsToml);
  if (text.ok()) return ParseHostsToml(registry, directory, *text);
  if (ErrnoOf(text.status()) != ENOENT)
    return Misconfigured(directory + "/hosts.toml", text.status().message());
  RETURN_IF_ERROR(ReadDockerCertificates(directory, upstream.tls));
  return std::vector<RegistryEndpoint>{std::move(upstream)};
}

}  // namespace gantry::images
