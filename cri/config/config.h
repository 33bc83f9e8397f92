// The configuration of gantryd: one TOML file with strict keys, of which every value has a default.
//
// Values only: nothing here touches what the values name (folders, sockets), the parts that use
// them do.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"

namespace gantry::cri {

inline constexpr char kDefaultConfigPath[] = "/etc/gantry/config.toml";

// An external OCI runtime as [runtime.handlers.NAME]; reserved, see CheckConfig.
struct RuntimeHandler {
  std::string path;  // absolute
};

struct Config {
  std::string root = "/var/lib/gantry";                   // lasting state
  std::string state = "/run/gantry";                      // state of this boot
  std::string listen = "unix:///run/gantry/gantry.sock";  // the CRI socket
  std::string socket_group;         // group of the socket (0660); empty: root only
  std::string log_level = "info";   // debug, info, warning, error
  std::string log_format = "text";  // text, json
  std::string binary_dir;           // gantry-shim and the others; empty: beside gantryd

  struct Image {
    std::string registry_config_path =
        "/etc/gantry/certs.d";  // folders, separated by colons: HOST/hosts.toml; empty: none
    std::string auth_files =
        "/etc/gantry/auth.json";      // logins, separated by colons; need not be there; empty: none
    int max_concurrent_layers = 4;    // of one pull
    std::string layer_form = "auto";  // of new layers: auto, erofs, directory
    std::vector<std::string> pinned_images;  // names, or patterns with asterisks
  } image;

  struct Network {
    std::string conf_dir = "/etc/cni/net.d";
    std::vector<std::string> bin_dirs = {"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"};
    std::string ip_preference = "ipv4";            // cni, ipv4, ipv6
    std::vector<std::string> allowed_annotations;  // io.gantry/ips and the like
  } network;

  // The server behind the URLs of Exec, Attach and PortForward.
  struct Streaming {
    std::string address = "127.0.0.1";
    int port = 0;               // 0: one that is free
    std::string tls_cert_file;  // with the key, or both empty: plain HTTP
    std::string tls_key_file;
    std::string tls_client_ca_file;   // empty: clients need no certificate
    std::string idle_timeout = "4h";  // as absl::ParseDuration reads it
  } streaming;

  struct Runtime {
    std::string cgroup_driver = "cgroupfs";
    std::string default_handler = "gantry";
    std::string shim_cgroup = "/gantry-shims";  // of all shims, outside the pods' limits
    std::vector<std::string> cdi_spec_dirs = {"/etc/cdi", "/var/run/cdi"};  // later ones win
    std::map<std::string, RuntimeHandler> handlers;
  } runtime;

  struct Metrics {
    std::string cadvisor_socket;  // absolute; empty: none
  } metrics;
};

// Reads the file and checks it (CheckConfig). kNotFound when there is no such file; else
// kInvalidArgument as "FILE:LINE: reason", for an unknown key with the known one that is nearest to
// it.
StatusOr<Config> LoadConfig(const std::string& path);

// As LoadConfig, from text; `name` stands for the file in messages.
StatusOr<Config> ParseConfig(absl::string_view text, absl::string_view name);

// What values must hold wherever they came from (file or flag): kInvalidArgument as "KEY: reason".
Status CheckConfig(const Config& config);

// The configuration as a file that LoadConfig reads back to the same values.
std::string DumpConfig(const Config& config);

// The defaults as a file, with a comment on every key.
std::string DefaultConfigText();

// The socket's path in `listen` ("unix:///run/gantry/gantry.sock": "/run/gantry/gantry.sock").
// kInvalidArgument when it is no absolute unix path.
StatusOr<std::string> SocketPath(absl::string_view listen);

}  // namespace gantry::cri
