#include "cri/config/config_keys.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"

namespace gantry::cri {
namespace {

constexpr int kMaxConcurrentLayers = 64;

const std::string& Text(const ConfigTarget& target) { return **std::get_if<std::string*>(&target); }

Status CheckAbsolute(const std::string& path) {
  if (absl::StartsWith(path, "/") && !absl::StrContains(path, '\0')) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("\"", path, "\" is not an absolute path"));
}

Status AbsolutePath(const ConfigTarget& target) { return CheckAbsolute(Text(target)); }

Status AbsolutePathOrEmpty(const ConfigTarget& target) {
  return Text(target).empty() ? absl::OkStatus() : CheckAbsolute(Text(target));
}

// Separated by colons; may be empty.
Status AbsolutePathList(const ConfigTarget& target) {
  for (const absl::string_view path : absl::StrSplit(Text(target), ':', absl::SkipEmpty()))
    RETURN_IF_ERROR(CheckAbsolute(std::string(path)));
  return absl::OkStatus();
}

Status AbsolutePaths(const ConfigTarget& target) {
  const std::vector<std::string>& paths = **std::get_if<std::vector<std::string>*>(&target);
  if (paths.empty()) return absl::InvalidArgumentError("needs at least one path");
  for (const std::string& path : paths) RETURN_IF_ERROR(CheckAbsolute(path));
  return absl::OkStatus();
}

Status UnixSocket(const ConfigTarget& target) { return SocketPath(Text(target)).status(); }

Status OneOf(const std::string& value, const std::vector<std::string>& allowed) {
  if (std::find(allowed.begin(), allowed.end(), value) != allowed.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", value, "\" is none of ", absl::StrJoin(allowed, ", "), Suggest(value, allowed)));
}

Status LogLevelName(const ConfigTarget& target) {
  return OneOf(Text(target), {"debug", "info", "warning", "error"});
}

Status LogFormatName(const ConfigTarget& target) { return OneOf(Text(target), {"text", "json"}); }

Status LayerCount(const ConfigTarget& target) {
  const int count = **std::get_if<int*>(&target);
  if (count >= 1 && count <= kMaxConcurrentLayers) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(count, " is not in the range 1 to ", kMaxConcurrentLayers));
}

Status IpAddress(const ConfigTarget& target) {
  in6_addr parsed;
  if (inet_pton(AF_INET, Text(target).c_str(), &parsed) == 1 ||
      inet_pton(AF_INET6, Text(target).c_str(), &parsed) == 1)
    return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("\"", Text(target), "\" is no IP address"));
}

Status PortNumber(const ConfigTarget& target) {
  const int port = **std::get_if<int*>(&target);
  if (port >= 0 && port <= UINT16_MAX) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(port, " is not in the range 0 to 65535"));
}

Status PositiveDuration(const ConfigTarget& target) {
  absl::Duration duration;
  if (absl::ParseDuration(Text(target), &duration) && duration > absl::ZeroDuration())
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("\"", Text(target), "\" is no time; write 30m or 4h"));
}

Status IpPreferenceName(const ConfigTarget& target) {
  return OneOf(Text(target), {"cni", "ipv4", "ipv6"});
}

Status NetworkAnnotationNames(const ConfigTarget& target) {
  for (const std::string& name : **std::get_if<std::vector<std::string>*>(&target))
    RETURN_IF_ERROR(OneOf(
        name, {"io.gantry/ips", "io.gantry/mac", "io.gantry/aliases", "io.gantry/ip-ranges"}));
  return absl::OkStatus();
}

Status CgroupDriver(const ConfigTarget& target) {
  RETURN_IF_ERROR(OneOf(Text(target), {"cgroupfs", "systemd"}));
  if (Text(target) == "cgroupfs") return absl::OkStatus();
  return absl::InvalidArgumentError(
      "the systemd driver is not implemented yet: use \"cgroupfs\", and the same in the kubelet "
      "(cgroupDriver)");
}

Status HandlerName(const ConfigTarget& target) {
  if (Text(target) == "gantry") return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("\"", Text(target), "\": only the native handler \"gantry\" exists yet"));
}

Status LayerFormOrAuto(const ConfigTarget& target) {
  return OneOf(Text(target), {"auto", "erofs", "directory"});
}

Status ImageNames(const ConfigTarget& target) {
  for (const std::string& name : **std::get_if<std::vector<std::string>*>(&target)) {
    const bool printable = std::all_of(name.begin(), name.end(), absl::ascii_isgraph);
    if (name.empty() || !printable)
      return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is no name of an image"));
  }
  return absl::OkStatus();
}

Status ShimCgroup(const ConfigTarget& target) {
  RETURN_IF_ERROR(CheckAbsolute(Text(target)));
  if (!absl::StrContains(Text(target), "..")) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("\"", Text(target), "\" must not contain \"..\""));
}

std::vector<ConfigKey> TopKeys(Config& config) {
  return {
      {"", "root", &config.root, "Lasting state: images, layers, the records of pods.",
       AbsolutePath},
      {"", "state", &config.state, "State of this boot: sockets, namespaces, journals.",
       AbsolutePath},
      {"", "listen", &config.listen, "The CRI socket; give the kubelet the same value.",
       UnixSocket},
      {"", "socket_group", &config.socket_group,
       "Group that may use the socket (mode 0660), by name or number. Empty: root alone.", nullptr},
      {"", "log_level", &config.log_level, "debug, info, warning or error.", LogLevelName},
      {"", "log_format", &config.log_format, "text or json.", LogFormatName},
      {"", "binary_dir", &config.binary_dir,
       "Folder of gantry-shim, gantry-init, gantry-puller and gantry-unpacker.\n"
       "Empty: the folder of gantryd.",
       AbsolutePathOrEmpty},
  };
}

std::vector<ConfigKey> ImageKeys(Config& config) {
  return {
      {"image", "registry_config_path", &config.image.registry_config_path,
       "Registry hosts and mirrors: HOST/hosts.toml below this folder, as containerd has them.\n"
       "Several folders are separated by colons. Empty: none.",
       AbsolutePathList},
      {"image", "auth_files", &config.image.auth_files,
       "Logins for registries, used when a pull brings none: docker's config.json or containers'\n"
       "auth.json. Several files are separated by colons; one that is missing is none.",
       AbsolutePathList},
      {"image", "max_concurrent_layers", &config.image.max_concurrent_layers,
       "Layers that one pull fetches at the same time.", LayerCount},
      {"image", "layer_form", &config.image.layer_form,
       "How new layers lie on disk: erofs (two files, mounted), directory, or auto: erofs where "
       "this\n"
       "kernel mounts it. Layers of the other form stay usable.",
       LayerFormOrAuto},
      {"image", "pinned_images", &config.image.pinned_images,
       "Images that the kubelet does not remove when it needs space: names as users write them, "
       "or\n"
       "full names with asterisks, as in \"registry.example/models/*\".",
       ImageNames},
  };
}

std::vector<ConfigKey> SectionKeys(Config& config) {
  return {
      {"network", "conf_dir", &config.network.conf_dir,
       "CNI configuration; the first valid file by name is used.", AbsolutePath},
      {"network", "bin_dirs", &config.network.bin_dirs,
       "Folders of CNI plugins, searched in this order.", AbsolutePaths},
      {"network", "ip_preference", &config.network.ip_preference,
       "A pod's primary address where it has several: ipv4, ipv6, or cni (the plugin's first).",
       IpPreferenceName},
      {"network", "allowed_annotations", &config.network.allowed_annotations,
       "Of io.gantry/ips, io.gantry/mac, io.gantry/aliases and io.gantry/ip-ranges: those by "
       "which\n"
       "pods may choose addresses. Whoever may make pods can then take another pod's.",
       NetworkAnnotationNames},
      {"streaming", "address", &config.streaming.address,
       "Where exec, attach and port-forward are served: the kubelet of this node connects there.\n"
       "An address other than the loopback needs TLS.",
       IpAddress},
      {"streaming", "port", &config.streaming.port, "0: a free one.", PortNumber},
      {"streaming", "tls_cert_file", &config.streaming.tls_cert_file,
       "PEM certificate (and chain), with its key: https. The kubelet must trust its issuer.\n"
       "Loaded again when the files change. Empty: http.",
       AbsolutePathOrEmpty},
      {"streaming", "tls_key_file", &config.streaming.tls_key_file, "Its PEM key.",
       AbsolutePathOrEmpty},
      {"streaming", "tls_client_ca_file", &config.streaming.tls_client_ca_file,
       "PEM certificates of which one must have signed the client's. Empty: clients need none.",
       AbsolutePathOrEmpty},
      {"streaming", "idle_timeout", &config.streaming.idle_timeout,
       "A session without a byte for so long is ended: 30m, 4h.", PositiveDuration},
      {"runtime", "cgroup_driver", &config.runtime.cgroup_driver,
       "Who makes cgroups: cgroupfs (systemd is not implemented yet). As in the kubelet.",
       CgroupDriver},
      {"runtime", "default_handler", &config.runtime.default_handler,
       "What runs pods that name no runtime handler.", HandlerName},
      {"runtime", "shim_cgroup", &config.runtime.shim_cgroup,
       "Cgroup below which the shims live, outside the pods' limits.", ShimCgroup},
      {"runtime", "cdi_spec_dirs", &config.runtime.cdi_spec_dirs,
       "Folders of CDI files (devices that vendors describe); a later one wins over an earlier.",
       AbsolutePaths},
      {"metrics", "cadvisor_socket", &config.metrics.cadvisor_socket,
       "Socket where a cAdvisor finds containers as it finds those of CRI-O; it looks at\n"
       "/var/run/crio/crio.sock. Cgroups of new containers are then named crio-ID.\n"
       "Not needed where the kubelet has PodAndContainerStatsFromCRI. Empty: none.",
       AbsolutePathOrEmpty},
  };
}

// Edits between two words (Damerau-Levenshtein, neighbours exchanged count as one).
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<std::vector<size_t>> edits(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) edits[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) edits[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = edits[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      size_t best = std::min({edits[i - 1][j] + 1, edits[i][j - 1] + 1, replaced});
      const bool exchanged = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (exchanged) best = std::min(best, edits[i - 2][j - 2] + 1);
      edits[i][j] = best;
    }
  }
  return edits[a.size()][b.size()];
}

}  // namespace

std::string ConfigKey::Name() const {
  return *section == '\0' ? key : absl::StrCat(section, ".", key);
}

std::vector<ConfigKey> ConfigKeys(Config& config) {
  std::vector<ConfigKey> keys = TopKeys(config);
  for (ConfigKey& key : ImageKeys(config)) keys.push_back(key);
  for (ConfigKey& key : SectionKeys(config)) keys.push_back(key);
  return keys;
}

std::string Suggest(absl::string_view typed, const std::vector<std::string>& candidates) {
  constexpr size_t kMaxTyped = 64;  // bounds the work on hostile input
  if (typed.size() > kMaxTyped) return "";
  const std::string* best = nullptr;
  size_t best_distance = 3;
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(typed, candidate);
    if (distance >= best_distance || distance >= candidate.size()) continue;
    best = &candidate;
    best_distance = distance;
  }
  return best == nullptr ? "" : absl::StrCat(" (did you mean \"", *best, "\"?)");
}

}  // namespace gantry::cri
