// Pod networks by CNI plugins: the chain of a configuration run with ADD and DEL.
// CNI specification 1.1.0; what Kubernetes adds to it: CNI_ARGS K8S_POD_*, capabilities.
//
// lo is not CNI's here: the pod's shim brings it up. The caller keeps the record: it stores the
// configuration before Add (from then on a Del is owed, whatever happens) and the result after it,
// and Del works from that record, not from what is configured then.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

#include "cri/network/conf_directory.h"
#include "runtime/base/status.h"

namespace gantry::cri {

// Annotation of a sandbox (set by `gantry run`): "none" means a network namespace with lo alone, no
// CNI.
inline constexpr char kNetworkAnnotation[] = "io.gantry/network";
inline constexpr char kNoNetwork[] = "none";

struct NetworkOptions {
  std::string conf_dir = "/etc/cni/net.d";
  std::vector<std::string> bin_dirs = {"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"};
  // results/NETWORK-ID-IFNAME below it, as libcni's users (and some plugins) expect; empty: not
  // written.
  std::string cache_dir = "/var/lib/cni";
  absl::Duration add_timeout = absl::Seconds(90);  // of the whole chain
  absl::Duration del_timeout = absl::Seconds(60);
  absl::Duration empty_grace = absl::Seconds(5);  // see ConfDirectory
};

struct PortMapping {
  int32_t host_port = 0;
  int32_t container_port = 0;
  std::string protocol = "tcp";  // tcp, udp, sctp
  std::string host_ip;
};

struct PodDns {
  std::vector<std::string> servers;
  std::vector<std::string> searches;
  std::vector<std::string> options;
};

struct PodNetworkRequest {
  std::string id;  // of the sandbox
  std::string name;
  std::string namespace_name;
  std::string uid;
  std::string netns_path;  // Del: may be empty, or no namespace any more
  std::string ifname = "eth0";
  std::vector<PortMapping> port_mappings;  // those without a host port are left out
  PodDns dns;
  std::map<std::string, std::string> annotations;
  std::string cgroup_path;
};

struct PodNetworkResult {
  std::vector<std::string> ips;  // without prefix length, the first is the primary one
  std::string config_bytes;      // for Del
  std::string result_bytes;      // the last plugin's JSON, as it came
};

// From any thread; calls for different pods run in parallel. The caller never has two calls for one
// pod under way (they are its operations, keyed by the pod).
class Network {
 public:
  explicit Network(NetworkOptions options);

  // OK when a configuration is in force and all its plugins are installed; kUnavailable with the
  // reason otherwise: what CRI's Status shows as NetworkReady.
  Status Ready();

  // The configuration in force, to be recorded and given to Add. kUnavailable when there is none.
  StatusOr<std::string> Config();

  // Runs ADD of each plugin in turn. When one fails, times out or answers nonsense, DEL of the
  // whole list has been run when this returns, and the error is that plugin's own words; should
  // that DEL fail too, its error follows, and the caller's record still owes one.
  StatusOr<PodNetworkResult> Add(const PodNetworkRequest& request, const std::string& config);

  // Runs DEL of each plugin in reverse, all of them even when one fails, and returns the first
  // error. Idempotent; a plugin that does not know the pod any more (code 3) has succeeded.
  // `result` is empty when the ADD never ended.
  Status Del(const PodNetworkRequest& request, const std::string& config,
             const std::string& result);

 private:
  struct Chain;  // one configuration, one pod, one deadline

  StatusOr<Chain> MakeChain(const PodNetworkRequest& request, const std::string& config,
                            absl::Duration timeout) const;

  const NetworkOptions options_;
  ConfDirectory configs_;
};

}  // namespace gantry::cri
