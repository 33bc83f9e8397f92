#include "imageservice/registry_hosts.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"

#include "imageservice/registry_certificates.h"
#include "runtime/base/toml.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

constexpr size_t kMaxHostsToml = 1 << 20;
constexpr size_t kMaxEndpoints = 32;

Status Misconfigured(absl::string_view where, absl::string_view problem) {
  return absl::FailedPreconditionError(absl::StrCat(where, ": ", problem));
}

// Files are named relative to the directory of their hosts.toml.
std::string PathOf(const std::string& directory, const std::string& name) {
  return absl::StartsWith(name, "/") ? name : absl::StrCat(directory, "/", name);
}

Status UseAuthority(const std::string& path, RegistryEndpoint& endpoint) {
  endpoint.tls_files.push_back(path);
  return AddAuthority(path, endpoint.tls);
}

Status UseClientPair(const std::string& certificate, const std::string& key,
                     RegistryEndpoint& endpoint) {
  endpoint.tls_files.push_back(certificate);
  if (key != certificate) endpoint.tls_files.push_back(key);
  return SetClientPair(certificate, key, endpoint.tls);
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
    RETURN_IF_ERROR(ReadCa(endpoint));
    RETURN_IF_ERROR(ReadClient(endpoint));
    RETURN_IF_ERROR(ReadHeaders(endpoint));
    RETURN_IF_ERROR(ReadDialTimeout(endpoint));
    return endpoint;
  }

  // The keys that mean nothing to us.
  void NoteUnknown(std::vector<std::string>& notes) const {
    static constexpr absl::string_view kKnown[] = {
        "capabilities", "ca", "client", "skip_verify", "header", "dial_timeout", "override_path"};
    for (const auto& [key, value] : table_) {
      const absl::string_view name(key.str().data(), key.str().size());
      if (name_.empty() && (name == "server" || name == "host")) continue;
      if (std::find(std::begin(kKnown), std::end(kKnown), name) == std::end(kKnown))
        notes.push_back(absl::StrCat(Where(), ": the unknown key \"", name, "\" is ignored"));
    }
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
    if (names.empty()) return absl::OkStatus();  // containerd: all
    endpoint.can_resolve = endpoint.can_pull = false;
    for (const std::string& written : names) {
      const std::string name = absl::AsciiStrToLower(written);
      if (name == "resolve") {
        endpoint.can_resolve = true;
      } else if (name == "pull") {
        endpoint.can_pull = true;
      } else if (name != "push" && name != "referrers") {
        return Wrong("capabilities", absl::StrCat("has the unknown name \"", written, "\""));
      }
    }
    return absl::OkStatus();
  }

  Status ReadCa(RegistryEndpoint& endpoint) const {
    const toml::node* node = table_.get("ca");
    if (node == nullptr) return absl::OkStatus();
    ASSIGN_OR_RETURN(const auto names, Strings(*node, "ca"));
    for (const std::string& name : names)
      RETURN_IF_ERROR(UseAuthority(PathOf(directory_, name), endpoint));
    return absl::OkStatus();
  }

  // "both.pem", or a list whose elements are "both.pem" or ["cert.pem", "key.pem"]: the first one
  // is used, as one connection shows one.
  Status ReadClient(RegistryEndpoint& endpoint) const {
    const toml::node* node = table_.get("client");
    if (node == nullptr) return absl::OkStatus();
    std::vector<std::vector<std::string>> pairs;
    if (const toml::array* array = node->as_array()) {
      for (const toml::node& element : *array) {
        ASSIGN_OR_RETURN(pairs.emplace_back(), Strings(element, "client"));
        if (element.is_array() && pairs.back().size() != 2)
          return Wrong("client", "must hold pairs of certificate and key");
      }
      if (pairs.empty()) return absl::OkStatus();
    } else {
      ASSIGN_OR_RETURN(pairs.emplace_back(), Strings(*node, "client"));
    }
    const std::string certificate = PathOf(directory_, pairs[0][0]);
    const bool apart = pairs[0].size() == 2 && !pairs[0][1].empty();
    return UseClientPair(certificate, apart ? PathOf(directory_, pairs[0][1]) : certificate,
                         endpoint);
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

// A mirror learns from ?ns= whose images are asked for. The registry may stand among its own
// mirrors, as where its certificate authority is given: then it is the registry still.
void MarkMirror(const std::string& registry, RegistryEndpoint& endpoint) {
  const std::string upstream = registry == "docker.io" ? "registry-1.docker.io" : registry;
  if (endpoint.base.HostPort() == upstream)
    endpoint.upstream = true;
  else
    endpoint.query = absl::StrCat("ns=", PercentEncode(registry));
}

// Docker's form: *.crt are authorities, x.cert and x.key a client's pair.
Status ReadDockerCertificates(const std::string& directory, RegistryEndpoint& endpoint) {
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
      RETURN_IF_ERROR(UseAuthority(PathOf(directory, name), endpoint));
    } else if (absl::EndsWith(name, ".cert") && endpoint.tls.client_cert.empty()) {
      const std::string key = name.substr(0, name.size() - 4) + "key";
      RETURN_IF_ERROR(UseClientPair(PathOf(directory, name), PathOf(directory, key), endpoint));
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
StatusOr<std::vector<std::pair<std::string, const toml::table*>>> MirrorsInOrder(
    const toml::table& root, const std::string& file) {
  std::vector<std::pair<std::string, const toml::table*>> mirrors;
  const toml::node* hosts = root.get("host");
  if (hosts == nullptr) return mirrors;
  if (!hosts->is_table()) return Misconfigured(file, "host must be tables: [host.\"URL\"]");
  for (const auto& [key, node] : *hosts->as_table()) {
    const std::string address(key.str());
    if (!node.is_table())
      return Misconfigured(file, absl::StrCat("host \"", address, "\" must be a table"));
    mirrors.emplace_back(address, node.as_table());
  }
  const auto line = [](const auto& mirror) { return mirror.second->source().begin.line; };
  std::stable_sort(mirrors.begin(), mirrors.end(),
                   [&](const auto& a, const auto& b) { return line(a) < line(b); });
  return mirrors;
}

Status ReadMirrors(const toml::table& root, const std::string& registry,
                   const std::string& directory, RegistryHosts& hosts) {
  ASSIGN_OR_RETURN(const auto mirrors, MirrorsInOrder(root, hosts.source));
  if (mirrors.size() > kMaxEndpoints) return Misconfigured(hosts.source, "more than 32 hosts");
  for (const auto& [address, table] : mirrors) {
    const HostTable reader(*table, directory, absl::StrCat("host \"", address, "\""));
    ASSIGN_OR_RETURN(RegistryEndpoint endpoint, reader.Read(address));
    reader.NoteUnknown(hosts.notes);
    MarkMirror(registry, endpoint);
    hosts.endpoints.push_back(std::move(endpoint));
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<RegistryHosts> ParseHostsToml(const std::string& registry, const std::string& directory,
                                       absl::string_view text) {
  RegistryHosts hosts;
  hosts.source = directory + "/hosts.toml";
  const toml::parse_result parsed = toml::parse(std::string_view(text.data(), text.size()));
  if (!parsed) {
    return Misconfigured(absl::StrCat(hosts.source, ":", parsed.error().source().begin.line),
                         std::string(parsed.error().description()));
  }
  const toml::table& root = parsed.table();
  RETURN_IF_ERROR(ReadMirrors(root, registry, directory, hosts));
  const toml::node* server_node = root.get("server");
  if (server_node != nullptr && !server_node->is_string()) {
    return Misconfigured(hosts.source, "server must be a string");
  }
  const std::string server = server_node == nullptr ? "" : server_node->as_string()->get();
  const HostTable reader(root, directory, "");
  ASSIGN_OR_RETURN(RegistryEndpoint endpoint, reader.Read(server.empty() ? registry : server));
  reader.NoteUnknown(hosts.notes);
  MarkMirror(registry, endpoint);
  endpoint.upstream = true;
  for (RegistryEndpoint& mirror : hosts.endpoints)
    mirror.upstream = mirror.upstream || mirror.base.HostPort() == endpoint.base.HostPort();
  hosts.endpoints.push_back(std::move(endpoint));
  return hosts;
}

StatusOr<RegistryHosts> FindHosts(const std::string& registry, const std::string& config_path) {
  RegistryHosts hosts;
  const std::string directory = FindDirectory(registry, config_path);
  ASSIGN_OR_RETURN(RegistryEndpoint upstream, DefaultEndpoint(registry));
  if (!directory.empty()) {
    const std::string file = directory + "/hosts.toml";
    const StatusOr<std::string> text = ReadFileAt(AT_FDCWD, file, kMaxHostsToml);
    if (text.ok() && !text->empty()) return ParseHostsToml(registry, directory, *text);
    if (!text.ok() && ErrnoOf(text.status()) != ENOENT)
      return Misconfigured(file, text.status().message());
    hosts.source = directory;
    RETURN_IF_ERROR(ReadDockerCertificates(directory, upstream));
  }
  hosts.endpoints.push_back(std::move(upstream));
  return hosts;
}

}  // namespace gantry::images
