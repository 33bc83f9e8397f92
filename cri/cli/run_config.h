// From the options of `gantry run` to what CRI is asked for: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "cri/proto/container.pb.h"
#include "cri/proto/sandbox_config.pb.h"
#include "runtime/base/status.h"

namespace gantry::cli {

// As written on the command line; empty: not given.
struct RunOptions {
  std::string image;
  std::vector<std::string> command;  // replaces the image's CMD
  std::string entrypoint;            // replaces the image's ENTRYPOINT
  std::string name;
  std::string network = "pod";       // pod, host, none
  std::vector<std::string> mounts;   // type=bind,source=…,target=…[,readonly][,propagation=…]
  std::vector<std::string> volumes;  // SOURCE:TARGET[:ro]
  std::vector<std::string> envs;     // KEY=value, or KEY: the caller's own value
  std::vector<std::string> publish;  // [IP:]HOST_PORT:PORT[/tcp|udp|sctp]
  std::vector<std::string> add_capabilities;
  std::vector<std::string> drop_capabilities;
  std::string user;  // UID, NAME, UID:GID or NAME:GID
  std::string memory;
  double cpus = 0;
  std::string workdir;
  std::string hostname;
  bool read_only = false;
  bool privileged = false;
  bool remove = false;
  bool detach = false;
  bool interactive = false;  // a stdin, for one client
  bool tty = false;
};

struct RunIdentity {
  std::string name;
  std::string uid;
  std::string log_directory;  // absolute
};

struct RunPlan {
  ::runtime::v1::PodSandboxConfig sandbox;
  ::runtime::v1::ContainerConfig container;
};

// On the sandboxes and containers that `gantry run` makes.
inline constexpr char kRunLabel[] = "io.gantry/run";
inline constexpr char kRunNamespace[] = "gantry";
inline constexpr char kLogFile[] = "container.log";

// A pod's uid as `gantry run` makes them, "run-" and 16 hex digits: what the kubelet's pods, whose
// labels anybody may write, can never have. `gantry rm` removes such pods with their containers.
std::string NewRunUid();
bool IsRunUid(absl::string_view uid);

// kInvalidArgument naming the option and what is wrong with it.
StatusOr<RunPlan> PlanRun(const RunOptions& options, const RunIdentity& identity);

}  // namespace gantry::cli
