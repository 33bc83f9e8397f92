// gantryd: reads its configuration, takes the locks, opens what it keeps on disk, finds its pods
// again and serves CRI.
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <iostream>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include <CLI/CLI.hpp>

#include "cri/cadvisor_socket.h"
#include "cri/image_recovery.h"
#include "cri/node.h"
#include "cri/node_features.h"
#include "cri/pod_user_namespace.h"
#include "cri/restore.h"
#include "cri/server.h"
#include "cri/store/directory_lock.h"
#include "runtime/linux/file.h"
#include "runtime/linux/mount.h"

namespace gantry::cri {
namespace {

struct Flags {
  std::string config_path;
  std::optional<std::string> root, state, listen, log_level;
};

// A missing default file is no error; one that was named must be there.
StatusOr<Config> ReadConfig(const Flags& flags) {
  Config config;
  auto loaded = LoadConfig(flags.config_path.empty() ? kDefaultConfigPath : flags.config_path);
  if (loaded.ok())
    config = *std::move(loaded);
  else if (!flags.config_path.empty() || !absl::IsNotFound(loaded.status()))
    return loaded.status();
  if (flags.root) config.root = *flags.root;
  if (flags.state) config.state = *flags.state;
  if (flags.listen) config.listen = *flags.listen;
  if (flags.log_level) config.log_level = *flags.log_level;
  RETURN_IF_ERROR(CheckConfig(config));
  return config;
}

// The other binaries lie beside gantryd.
std::string BinaryDirectory(const Config& config) {
  if (!config.binary_dir.empty()) return config.binary_dir;
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
}

// Where root file systems are attached, inside of containers alone. There the mount that has the
// place becomes private when a volume is to be Bidirectional; were it the host's /run or /, volumes
// on it would go out of their peer group with it.
Status MakeMountOfItsOwn(const std::string& place) {
  struct mount_attr make_private = {};
  make_private.propagation = MS_PRIVATE;
  Status done = SetMountAttributesAt(place, make_private, /*recursive=*/false);
  if (ErrnoOf(done) != EINVAL) return done;  // EINVAL: no mount yet
  RETURN_IF_ERROR(Mount(place, place, "", MS_BIND));
  return SetMountAttributesAt(place, make_private, /*recursive=*/false);
}

Status MakeFolders(const Config& config) {
  for (const auto& [path, mode] :
       {std::pair(config.root + "/containers", 0700), std::pair(config.state + "/pods", 0711),
        std::pair(config.state + "/netns", 0711), std::pair(config.state + "/rootfs", 0711)})
    RETURN_IF_ERROR(MakeDirectories(AT_FDCWD, path, static_cast<mode_t>(mode)).status());
  return MakeMountOfItsOwn(config.state + "/rootfs");
}

// One cgroup for all shims, outside of the pods' limits: made once, where one for each would cost
// each pod 0.7 ms on v1.
Status MakeShimCgroup(Node* node) {
  const std::string& path = node->config.runtime.shim_cgroup;
  if (const Status made = CreateCgroup(node->features.cgroups, path);
      !made.ok() && !absl::IsAlreadyExists(made))
    return Annotate(made, "runtime.shim_cgroup");
  ASSIGN_OR_RETURN(const CgroupPaths paths, CgroupPathsFor(node->features.cgroups, path));
  node->shim_cgroup = paths;
  return absl::OkStatus();
}

StatusOr<std::unique_ptr<streaming::Server>> StartStreaming(const Config& config,
                                                            const Logger& log) {
  streaming::ServerOptions options;
  options.address = config.streaming.address;
  options.port = config.streaming.port;
  options.tls_certificate = config.streaming.tls_cert_file;
  options.tls_key = config.streaming.tls_key_file;
  options.tls_client_ca = config.streaming.tls_client_ca_file;
  absl::ParseDuration(config.streaming.idle_timeout, &options.idle_timeout);  // CheckConfig has
  return streaming::Server::Start(options, log);
}

StatusOr<images::LayerForm> ChooseLayerForm(const Node& node) {
  const std::string& wish = node.config.image.layer_form;
  const bool possible = node.snapshots->erofs_support() != images::ErofsSupport::kNone;
  if (wish == "directory") return images::LayerForm::kDirectory;
  if (possible) return images::LayerForm::kErofs;
  if (wish == "auto") return images::LayerForm::kDirectory;
  return absl::FailedPreconditionError(
      absl::StrCat("image.layer_form is \"erofs\", and EROFS layers cannot be mounted here: ",
                   node.snapshots->erofs_reason()));
}

Status OpenParts(Node* node) {
  const Config& config = node->config;
  const std::string binaries = BinaryDirectory(config);
  node->shim_binary = binaries + "/gantry-shim";
  node->init_binary = binaries + "/gantry-init";
  RETURN_IF_ERROR(MakeFolders(config));
  ASSIGN_OR_RETURN(node->features, DetectFeatures());
  RETURN_IF_ERROR(MakeShimCgroup(node));
  ASSIGN_OR_RETURN_CONTEXT(node->store, Store::Open(config.root), "open the store");
  ASSIGN_OR_RETURN_CONTEXT(node->images, images::ImageStore::Open(config.root), "open the images");
  images::WorkshopOptions workshop;
  workshop.pin = config.state + "/workshop";
  ASSIGN_OR_RETURN_CONTEXT(
      node->snapshots,
      images::Snapshots::Open(node->images.get(), config.root + "/snapshots", workshop),
      "open the snapshots");
  ProbeUserNamespaces(node);
  images::PullerOptions puller;
  puller.puller_binary = binaries + "/gantry-puller";
  puller.unpacker_binary = node->unpacker_binary = binaries + "/gantry-unpacker";
  puller.registry_config_path = config.image.registry_config_path;
  ASSIGN_OR_RETURN(puller.layer_form, ChooseLayerForm(*node));
  puller.auth_files = config.image.auth_files;
  // Beside the shims' group, where that is the node's own.
  puller.cgroup = config.runtime.shim_cgroup + "-pulls";
  puller.layers_at_once = config.image.max_concurrent_layers;
  node->puller = std::make_unique<images::Puller>(node->images.get(), puller);
  NetworkOptions network;
  network.conf_dir = config.network.conf_dir;
  network.bin_dirs = config.network.bin_dirs;
  network.allowed_annotations = config.network.allowed_annotations;
  ASSIGN_OR_RETURN(network.ip_preference, ParseIpPreference(config.network.ip_preference));
  node->network = std::make_unique<Network>(network, node->log);
  node->devices = std::make_unique<cdi::Registry>(config.runtime.cdi_spec_dirs);
  ASSIGN_OR_RETURN(node->reactor, shim::Reactor::Create());
  ASSIGN_OR_RETURN(node->streaming, StartStreaming(config, node->log));
  node->events = std::make_unique<Background>(2);
  node->background = std::make_unique<Background>(2);
  node->creations = std::make_unique<CreateOperations>();
  node->statistics = std::make_unique<Statistics>(Statistics::DescriptorBudget());
  node->network_debts = std::make_unique<NetworkDebts>(node);
  return absl::OkStatus();
}

// Nothing of the node is in use any more when this returns: its parts can go in any order. Pods run
// on.
void Quiesce(Node* node) {
  node->streaming->Stop();
  node->creations.reset();  // waits for what is being made
  for (const auto& sandbox : node->sandboxes.List())
    if (sandbox->shim != nullptr) sandbox->shim->client->Close();
  node->streaming.reset();
  node->network->Cancel();
  node->network_debts.reset();
  node->events.reset();
  node->background.reset();
}

Status Run(const Flags& flags) {
  ASSIGN_OR_RETURN(Config config, ReadConfig(flags));
  ASSIGN_OR_RETURN(const LogLevel level, ParseLogLevel(config.log_level));
  ASSIGN_OR_RETURN(const LogFormat format, ParseLogFormat(config.log_format));
  // Before anything of theirs is touched: a second daemon must not even remove the socket.
  ASSIGN_OR_RETURN(const UniqueFd root_lock, LockDirectory(config.root));
  ASSIGN_OR_RETURN(const UniqueFd state_lock, LockDirectory(config.state));
  Node node(std::move(config), Logger(format, level));
  node.started_at_ns = absl::ToUnixNanos(absl::Now());
  RETURN_IF_ERROR(OpenParts(&node));
  Restore(&node);
  auto recovery = std::make_unique<ImageRecovery>(&node);
  std::unique_ptr<CadvisorSocket> cadvisor;
  if (const std::string& path = node.config.metrics.cadvisor_socket; !path.empty()) {
    ASSIGN_OR_RETURN(cadvisor, CadvisorSocket::Listen(&node, path));
  }
  Status served = ServeUntilSignal(&node);
  cadvisor.reset();
  recovery.reset();
  Quiesce(&node);
  return served;
}

// SIGTERM and SIGINT are waited for by one thread; SIGPIPE is an error of write.
void BlockSignals() {
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  sigaddset(&blocked, SIGINT);
  sigaddset(&blocked, SIGPIPE);
  sigprocmask(SIG_BLOCK, &blocked, nullptr);
}

int Main(int argc, char** argv) {
  CLI::App app("gantryd: the Kubernetes container runtime daemon");
  Flags flags;
  app.add_option("--config", flags.config_path, "configuration file (TOML)");
  app.add_option("--root", flags.root, "folder of lasting state");
  app.add_option("--state", flags.state, "folder of this boot's state");
  app.add_option("--listen", flags.listen, "CRI socket: unix:///path");
  app.add_option("--log-level", flags.log_level, "debug, info, warning, error");
  app.set_version_flag("--version", std::string("gantryd ") + GANTRY_VERSION);
  CLI11_PARSE(app, argc, argv);
  umask(0022);
#ifdef NDEBUG
  // Debian builds Abseil with its search for lock cycles, which takes one lock for all locks.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
  BlockSignals();
  const Status status = Run(flags);
  if (status.ok()) return 0;
  std::cerr << "gantryd: " << status.message() << "\n";
  return 1;
}

}  // namespace
}  // namespace gantry::cri

// Libraries throw where there is no memory, or no thread, any more.
int main(int argc, char** argv) try {
  return gantry::cri::Main(argc, argv);
} catch (const std::exception& error) {
  std::fprintf(stderr, "gantryd: %s\n", error.what());
  return 1;
}
