// Pod networks by CNI plugins: the chain of a configuration run with ADD and DEL, and between pods
// with STATUS and GC. CNI specification 1.1.0; what Kubernetes adds to it: CNI_ARGS K8S_POD_*,
// capabilities, bandwidth annotations.
//
// lo is not CNI's here: the pod's shim brings it up. The caller keeps the record: it stores the
// configuration before Add (from then on a Del is owed, whatever happens) and the result after it,
// and Del works from that record, not from what is configured then.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "cri/log.h"
#include "cri/network/cni_result.h"
#include "cri/network/conf_directory.h"
#include "cri/network/network_health.h"
#include "runtime/base/deadline.h"
#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::cri {

// Annotation of a sandbox (set by `gantry run`): "none" means a network namespace with lo alone, no
// CNI.
inline constexpr char kNetworkAnnotation[] = "io.gantry/network";
inline constexpr char kNoNetwork[] = "none";

class CniChain;

struct NetworkOptions {
  std::string conf_dir = "/etc/cni/net.d";
  std::vector<std::string> bin_dirs = {"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"};
  // results/NETWORK-ID-IFNAME below it, as libcni's users (and some plugins) expect; empty: not
  // written.
  std::string cache_dir = "/var/lib/cni";
  absl::Duration add_timeout = absl::Seconds(90);  // of the whole chain
  absl::Duration del_timeout = absl::Seconds(60);
  absl::Duration gc_timeout = absl::Seconds(30);
  absl::Duration status_timeout = absl::Seconds(10);
  ConfDirectory::Options conf;
  NetworkHealth::Options health;
  IpPreference ip_preference = IpPreference::kIpv4;
  std::vector<std::string> allowed_annotations;  // see network_annotations.h
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

// One interface of one pod.
struct CniAttachment {
  std::string id;
  std::string ifname = "eth0";
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
  Network(NetworkOptions options, Logger log);
  ~Network();  // as Cancel, and waits for the threads

  // OK when a configuration is in force, all its plugins are installed and, where they have STATUS,
  // well; kUnavailable with the reason otherwise: what CRI's Status shows as NetworkReady. Runs no
  // plugin.
  Status Ready() const;

  // The configuration in force, to be recorded and given to Add. kUnavailable when there is none.
  StatusOr<std::string> Config() const;
  ConfInForce InForce() const { return configs_.InForce(); }

  // Before anything of the pod is begun. kInvalidArgument: CNI could not be told of it, or an
  // annotation is wrong.
  Status Check(const PodNetworkRequest& request) const;

  // Runs ADD of each plugin in turn. The error is the failing plugin's own words; the caller owes
  // the Del then too. Plugins that would only repeat what they were given are not run.
  StatusOr<PodNetworkResult> Add(const PodNetworkRequest& request, const std::string& config);

  // Runs DEL of each plugin in reverse, all of them even when one fails, and returns the first
  // error. Idempotent; a plugin that does not know the pod any more (code 3) has succeeded.
  // `result` is empty when the ADD never ended. kCancelled after Cancel: it is owed as before.
  Status Del(const PodNetworkRequest& request, const std::string& config,
             const std::string& result);

  // Runs GC once (1.1.0, unless the configuration disables it), as soon as the network is ready and
  // no ADD or DEL is under way; those that come meanwhile wait. `valid` is asked then: all pods
  // that have, or owe the DEL of, an attachment. A failure is logged.
  void CollectGarbageWhenReady(std::function<std::vector<CniAttachment>()> valid);

  // The daemon ends: running DEL, STATUS and GC are killed, later ones too; ADD goes on.
  void Cancel();

 private:
  StatusOr<CniChain> PodChain(const PodNetworkRequest& request, const std::string& config,
                              const Deadline& deadline) const;
  [[nodiscard]] Status AskStatus(const CniConfig& config) const;
  void CollectGarbage(const CniConfig& config);

  const NetworkOptions options_;
  const Logger log_;
  const UniqueFd cancelled_;  // eventfd
  // Held shared by ADD and DEL, alone by GC, for as long as plugins run: the specification wants
  // it.
  absl::Mutex verbs_;
  absl::Mutex mutex_;
  std::function<std::vector<CniAttachment>()> valid_ ABSL_GUARDED_BY(mutex_);  // null: GC is done
  ConfDirectory configs_;
  NetworkHealth health_;  // the last: its thread uses the rest
};

}  // namespace gantry::cri
