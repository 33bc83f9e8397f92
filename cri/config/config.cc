#include "cri/config/config.h"

#include <cerrno>
#include <cstdint>
#include <limits>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "cri/config/config_keys.h"
#include "runtime/base/toml.h"
#include "runtime/linux/file.h"

namespace gantry::cri {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;

class ConfigReader {
 public:
  ConfigReader(Config& config, absl::string_view name)
      : config_(config), name_(name), keys_(ConfigKeys(config)) {}

  Status ReadTop(const toml::table& table) {
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      if (!IsSection(name)) {
        RETURN_IF_ERROR(ReadKey("", name, node, key.source()));
        continue;
      }
      if (!node.is_table()) return Error(node.source(), absl::StrCat(name, ": must be a table"));
      RETURN_IF_ERROR(ReadSection(name, *node.as_table()));
    }
    return absl::OkStatus();
  }

 private:
  [[nodiscard]] Status Error(const toml::source_region& where, absl::string_view reason) const {
    return absl::InvalidArgumentError(absl::StrCat(name_, ":", where.begin.line, ": ", reason));
  }

  [[nodiscard]] bool IsSection(const std::string& name) const {
    for (const ConfigKey& key : keys_) {
      if (name == key.section && !name.empty()) return true;
    }
    return false;
  }

  Status ReadSection(const std::string& section, const toml::table& table) {
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      if (section == "runtime" && name == "handlers") {
        RETURN_IF_ERROR(ReadHandlers(node));
      } else {
        RETURN_IF_ERROR(ReadKey(section, name, node, key.source()));
      }
    }
    return absl::OkStatus();
  }

  Status ReadKey(const std::string& section, const std::string& name, const toml::node& node,
                 const toml::source_region& where) {
    for (const ConfigKey& key : keys_) {
      if (section != key.section || name != key.key) continue;
      RETURN_IF_ERROR(ReadValue(key, node));
      const Status checked = key.check == nullptr ? absl::OkStatus() : key.check(key.target);
      if (!checked.ok()) {
        return Error(node.source(), absl::StrCat(key.Name(), ": ", checked.message()));
      }
      return absl::OkStatus();
    }
    return UnknownKey(section, name, where);
  }

  // The nearest key of the same section, else the section in which a key of this name stands.
  [[nodiscard]] Status UnknownKey(const std::string& section, const std::string& name,
                                  const toml::source_region& where) const {
    std::set<std::string> candidates;
    std::string elsewhere;
    for (const ConfigKey& key : keys_) {
      if (section == key.section) candidates.insert(key.key);
      if (section.empty() && *key.section != '\0') candidates.insert(key.section);
      if (name == key.key) elsewhere = absl::StrCat(" (did you mean \"", key.Name(), "\"?)");
    }
    if (elsewhere.empty()) elsewhere = Suggest(name, {candidates.begin(), candidates.end()});
    const std::string full = section.empty() ? name : absl::StrCat(section, ".", name);
    return Error(where, absl::StrCat("unknown key \"", full, "\"", elsewhere));
  }

  Status ReadValue(const ConfigKey& key, const toml::node& node) const {
    if (auto* const* text = std::get_if<std::string*>(&key.target)) {
      if (!node.is_string()) return WrongType(key, node, "a string");
      **text = node.as_string()->get();
      return absl::OkStatus();
    }
    if (auto* const* number = std::get_if<int*>(&key.target)) {
      if (!node.is_integer()) return WrongType(key, node, "an integer");
      const int64_t value = node.as_integer()->get();
      if (value < std::numeric_limits<int>::min() || value > std::numeric_limits<int>::max()) {
        return Error(node.source(), absl::StrCat(key.Name(), ": ", value, " is out of range"));
      }
      **number = static_cast<int>(value);
      return absl::OkStatus();
    }
    return ReadStrings(key, node, **std::get_if<std::vector<std::string>*>(&key.target));
  }

  Status ReadStrings(const ConfigKey& key, const toml::node& node,
                     std::vector<std::string>& out) const {
    if (!node.is_array()) return WrongType(key, node, "an array of strings");
    out.clear();
    for (const toml::node& element : *node.as_array()) {
      if (!element.is_string()) return WrongType(key, element, "an array of strings");
      out.push_back(element.as_string()->get());
    }
    return absl::OkStatus();
  }

  [[nodiscard]] Status WrongType(const ConfigKey& key, const toml::node& node,
                                 absl::string_view wanted) const {
    return Error(node.source(),
                 absl::StrCat(key.Name(), ": must be ", wanted, ", not ", TypeName(node)));
  }

  static std::string TypeName(const toml::node& node) {
    switch (node.type()) {
      case toml::node_type::table:
        return "a table";
      case toml::node_type::array:
        return "an array with another type in it";
      case toml::node_type::string:
        return "a string";
      case toml::node_type::integer:
        return "an integer";
      case toml::node_type::boolean:
        return "a boolean";
      case toml::node_type::floating_point:
        return "a number with a fraction";
      default:
        return "a date or time";
    }
  }

  Status ReadHandlers(const toml::node& node) {
    if (!node.is_table()) return Error(node.source(), "runtime.handlers: must be a table");
    for (const auto& [key, handler] : *node.as_table()) {
      const std::string name(key.str());
      if (!handler.is_table()) {
        return Error(key.source(), absl::StrCat("runtime.handlers.", name, ": must be a table"));
      }
      return Error(key.source(),
                   absl::StrCat("runtime.handlers.", name,
                                ": external runtimes are not implemented yet; remove the table"));
    }
    return absl::OkStatus();
  }

  Config& config_;
  absl::string_view name_;
  std::vector<ConfigKey> keys_;
};

bool IsLoopback(const std::string& address) {
  return absl::StartsWith(address, "127.") || address == "::1";
}

}  // namespace

StatusOr<Config> ParseConfig(absl::string_view text, absl::string_view name) {
  const toml::parse_result result =
      toml::parse(std::string_view(text.data(), text.size()), std::string(name));
  if (!result) {
    const toml::parse_error& error = result.error();
    return absl::InvalidArgumentError(
        absl::StrCat(name, ":", error.source().begin.line, ": ",
                     absl::string_view(error.description().data(), error.description().size())));
  }
  Config config;
  RETURN_IF_ERROR(ConfigReader(config, name).ReadTop(result.table()));
  RETURN_IF_ERROR_CONTEXT(CheckConfig(config), name);
  return config;
}

StatusOr<Config> LoadConfig(const std::string& path) {
  const StatusOr<std::string> text = ReadFileAt(AT_FDCWD, path, kMaxFileBytes);
  if (!text.ok() && ErrnoOf(text.status()) == ENOENT) {
    return absl::NotFoundError(
        absl::StrCat("config file ", path, " does not exist; `gantry config default` prints one"));
  }
  if (!text.ok()) return Annotate(text.status(), "read the config file");
  return ParseConfig(*text, path);
}

Status CheckConfig(const Config& config) {
  Config copy = config;
  for (const ConfigKey& key : ConfigKeys(copy)) {
    if (key.check != nullptr) RETURN_IF_ERROR_CONTEXT(key.check(key.target), key.Name());
  }
  const Config::Streaming& streaming = config.streaming;
  if (streaming.tls_cert_file.empty() != streaming.tls_key_file.empty())
    return absl::InvalidArgumentError(
        "streaming.tls_cert_file and streaming.tls_key_file: give both, or none");
  if (!streaming.tls_client_ca_file.empty() && streaming.tls_cert_file.empty())
    return absl::InvalidArgumentError(
        "streaming.tls_client_ca_file: needs tls_cert_file and tls_key_file too");
  if (!IsLoopback(streaming.address) && streaming.tls_cert_file.empty())
    return absl::InvalidArgumentError(
        absl::StrCat("streaming.address: \"", streaming.address,
                     "\" is not the loopback, so tls_cert_file and tls_key_file are needed"));
  if (config.root == config.state) {
    return absl::InvalidArgumentError(
        absl::StrCat("root and state: must be two folders, both are ", config.root));
  }
  return absl::OkStatus();
}

StatusOr<std::string> SocketPath(absl::string_view listen) {
  constexpr absl::string_view kScheme = "unix://";
  absl::string_view path = listen;
  if (absl::StartsWith(path, kScheme)) path.remove_prefix(kScheme.size());
  if (absl::StartsWith(path, "/") && !absl::EndsWith(path, "/")) return std::string(path);
  return absl::InvalidArgumentError(
      absl::StrCat("\"", listen, "\" is no socket; write unix:///absolute/path"));
}

}  // namespace gantry::cri
