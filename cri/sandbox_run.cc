// RunPodSandbox: validate → record → directory → launch shim → cgroup → greet shim → namespaces →
// network → files → READY.
//
// The shim is launched early and greeted late: it waits some milliseconds for the kernel to let it
// into its cgroup (a grace period of RCU), while others of the stages need no shim.
//
// Each stage may fail; then TearDownSandbox, which knows how to take down any part of a pod, undoes
// what is there. Where even that fails the sandbox stays listed NOTREADY, with the reason, and can
// be removed.
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "cri/container_events.h"
#include "cri/list_entry.h"
#include "cri/network/netns.h"
#include "cri/object_id.h"
#include "cri/persist.h"
#include "cri/pod_files.h"
#include "cri/pod_user_namespace.h"
#include "cri/rpc.h"
#include "cri/sandbox_network.h"
#include "cri/sandbox_teardown.h"
#include "cri/service.h"
#include "cri/shim_events.h"
#include "cri/spec/container_spec.h"
#include "runtime/linux/file.h"
#include "runtime/linux/process.h"

namespace gantry::cri {
namespace {

constexpr absl::Duration kShimStart = absl::Seconds(30);

Status Validate(const v1::RunPodSandboxRequest& request) {
  const v1::PodSandboxConfig& config = request.config();
  if (!request.has_config() || !config.has_metadata())
    return absl::InvalidArgumentError("config.metadata is missing");
  const v1::PodSandboxMetadata& metadata = config.metadata();
  if (metadata.name().empty() || metadata.namespace_().empty() || metadata.uid().empty())
    return absl::InvalidArgumentError("config.metadata needs name, namespace and uid");
  const std::string& handler = request.runtime_handler();
  if (!handler.empty() && handler != "gantry")
    return absl::InvalidArgumentError(
        absl::StrCat("runtime_handler \"", handler, "\" is not configured; known: \"\", gantry"));
  const v1::NamespaceOption& options = NamespacesOf(config);
  RETURN_IF_ERROR(CheckUserNamespace(options));
  if (options.network() != v1::POD && options.network() != v1::NODE)
    return absl::InvalidArgumentError("namespace_options.network: a sandbox takes POD or NODE");
  if (options.ipc() != v1::POD && options.ipc() != v1::NODE)
    return absl::InvalidArgumentError("namespace_options.ipc: a sandbox takes POD or NODE");
  if (options.pid() == v1::TARGET)
    return absl::InvalidArgumentError("namespace_options.pid: TARGET is for containers");
  if (!config.log_directory().empty() && config.log_directory()[0] != '/')
    return absl::InvalidArgumentError(
        absl::StrCat("log_directory \"", config.log_directory(), "\" is not absolute"));
  return absl::OkStatus();
}

Status CheckFeatures(const Node& node, const v1::PodSandboxConfig& config) {
  if (!HasUserNamespace(NamespacesOf(config)) || node.features.user_namespaces)
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("userns_options: pods cannot have user namespaces on this node (see Status): ",
                   node.features.no_user_namespaces_because));
}

class SandboxStart {
 public:
  SandboxStart(Node* node, v1::RunPodSandboxRequest request)
      : node_(*node), request_(std::move(request)), id_(NewObjectId()) {}

  // The id of a READY sandbox; on failure nothing is left, or a NOTREADY one that can be removed.
  StatusOr<std::string> Run() {
    const std::string name = SandboxName(request_.config().metadata());
    RETURN_IF_ERROR_CONTEXT(node_.names.Reserve("pod/" + name, id_), "run pod sandbox");
    Status status = Stages();
    if (status.ok()) return id_;
    AbandonLaunch();
    if (const Status undone = RemoveSandbox(&node_, id_); !undone.ok()) {
      node_.sandboxes.Update(id_, [](Sandbox& sandbox) { sandbox.claimed = true; });  // to be seen
      status = Annotate(
          status, absl::StrCat("(and pod \"", id_, "\" is left NOTREADY: ", undone.message(), ")"));
    }
    return Annotate(status, absl::StrCat("run pod sandbox \"", name, "\""));
  }

 private:
  Status Stages() {
    RETURN_IF_ERROR(RecordIntent());
    RETURN_IF_ERROR(MakeDirectory());
    RETURN_IF_ERROR(LaunchShim());
    RETURN_IF_ERROR(MakeCgroup());
    RETURN_IF_ERROR(GreetNewShim());
    RETURN_IF_ERROR(MakeNamespaces());
    RETURN_IF_ERROR(JoinNetwork());
    RETURN_IF_ERROR(WritePodFiles(node_.PodDirectory(id_), config(), hostname_,
                                  record_.ips().empty() ? "" : record_.ips(0)));
    RETURN_IF_ERROR(GivePodFiles(node_.PodDirectory(id_), config()));
    return BecomeReady();
  }

  const v1::PodSandboxConfig& config() const { return request_.config(); }

  // Before any side effect, so that a crash leaves something to remove.
  Status RecordIntent() {
    record_.set_id(id_);
    record_.set_config(config().SerializeAsString());
    record_.set_runtime_handler(request_.runtime_handler());
    record_.set_state(v1::SANDBOX_NOTREADY);
    record_.set_created_at_ns(node_.store->NextCreatedAt());
    record_.set_boot_id(node_.features.boot_id);
    record_.set_cgroup_parent(config().linux().cgroup_parent());
    Sandbox sandbox;
    sandbox.record = record_;
    sandbox.config = std::make_shared<const v1::PodSandboxConfig>(config());
    sandbox.claimed = false;
    node_.sandboxes.Insert(id_, std::move(sandbox));
    RETURN_IF_ERROR(CheckIdsAreFree(node_, id_));
    return node_.store->Put(record_);
  }

  Status MakeDirectory() {
    const std::string directory = node_.PodDirectory(id_);
    if (mkdir(directory.c_str(), 0711) != 0) return SyscallError("mkdir", directory);
    if (!config().log_directory().empty())
      RETURN_IF_ERROR(MakeDirectories(AT_FDCWD, config().log_directory(), 0755).status());
    if (NamespacesOf(config()).ipc() == v1::NODE) return absl::OkStatus();
    const std::string shm = directory + "/shm";
    if (mkdir(shm.c_str(), 01777) != 0) return SyscallError("mkdir", shm);
    if (mount("shm", shm.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "mode=1777,size=67108864") != 0)
      return SyscallError("mount tmpfs", shm);
    return absl::OkStatus();
  }

  // The kubelet has made the pod's cgroup; what it has not made is ours to remove.
  Status MakeCgroup() {
    const std::string& given = config().linux().cgroup_parent();
    const std::string path = PodCgroupPath(record_);
    ASSIGN_OR_RETURN_CONTEXT(const CgroupPaths paths, CgroupPathsFor(node_.features.cgroups, path),
                             "cgroup_parent");
    const std::string& memory = paths.DirOf("memory");
    if (!given.empty() && access(memory.c_str(), F_OK) == 0) return Stored();
    record_.add_cgroup_dirs(path);
    RETURN_IF_ERROR(Stored());
    const Status made = CreateCgroup(node_.features.cgroups, path);
    return absl::IsAlreadyExists(made) ? absl::OkStatus() : Annotate(made, "pod cgroup");
  }

  Status LaunchShim() {
    shim::LaunchOptions options;
    options.binary = node_.shim_binary;
    options.init_binary = node_.init_binary;
    options.pod_id = id_;
    options.directory = node_.PodDirectory(id_);
    options.cgroup = node_.shim_cgroup;
    ASSIGN_OR_RETURN_CONTEXT(launched_, shim::Launch(options), "start the shim");
    return absl::OkStatus();
  }

  // Of a shim that was launched and never greeted nobody else knows.
  void AbandonLaunch() {
    PodShim unknown;
    unknown.pidfd = std::move(launched_.pidfd);
    unknown.End(absl::ZeroDuration());
  }

  Status GreetNewShim() {
    shim::proto::HelloReply hello;
    auto greeted = GreetShim(&node_, id_, std::move(launched_.connection), 0, &hello);
    if (!greeted.ok()) {
      // The socket ends before anybody can say why: the shim's log can.
      const auto log = ReadFileAt(AT_FDCWD, node_.PodDirectory(id_) + "/shim.log");
      return Annotate(greeted.status(),
                      absl::StrCat("start the shim (", log.value_or("no log"), ")"));
    }
    shim_ = *std::move(greeted);
    shim_->pidfd = std::move(launched_.pidfd);
    record_.set_shim_pid(launched_.pid);
    record_.set_shim_start_time(hello.shim_start_time());
    node_.sandboxes.Update(id_, [this](Sandbox& sandbox) { sandbox.shim = shim_; });
    return absl::OkStatus();
  }

  static void AddMappings(const std::vector<spec::IdMapping>& from,
                          google::protobuf::RepeatedPtrField<shim::proto::IdMapping>* to) {
    for (const spec::IdMapping& mapping : from) {
      shim::proto::IdMapping* added = to->Add();
      added->set_container_id(mapping.container_id);
      added->set_host_id(mapping.host_id);
      added->set_size(mapping.size);
    }
  }

  Status MakeNamespaces() {
    hostname_ = config().hostname();
    const bool own_network = NamespacesOf(config()).network() != v1::NODE;
    if (hostname_.empty()) hostname_ = HostHostname();
    if (hostname_.size() > 64)
      return absl::InvalidArgumentError(
          absl::StrCat("hostname \"", hostname_, "\" is too long (64)"));
    shim::proto::Request request;
    auto* create = request.mutable_create_pod();
    for (const std::string& type : SandboxNamespaces(config())) create->add_new_namespaces(type);
    create->set_hostname(hostname_);
    const runtime::IdMaps maps = IdMapsOf(NamespacesOf(config()));
    AddMappings(maps.uids, create->mutable_uid_mappings());
    AddMappings(maps.gids, create->mutable_gid_mappings());
    auto& sysctls = *create->mutable_sysctls();
    sysctls.insert(config().linux().sysctls().begin(), config().linux().sysctls().end());
    if (own_network) {
      // As containerd 2 does: what NET_BIND_SERVICE and NET_RAW are mostly wanted for needs no
      // capability.
      sysctls.insert({"net.ipv4.ip_unprivileged_port_start", "0"});
      sysctls.insert({"net.ipv4.ping_group_range", "0 2147483647"});
    }
    ASSIGN_OR_RETURN_CONTEXT(const auto reply, shim_->client->Call(request, {}, kShimStart),
                             "make the pod's namespaces");
    record_.set_hostname(hostname_);
    if (!own_network) return absl::OkStatus();
    if (reply.fds.empty()) return absl::InternalError("the shim has sent no network namespace");
    record_.set_netns_path(absl::StrCat(node_.config.state, "/netns/", id_));
    // Before the pin: whatever fails from here on, the teardown knows of it.
    RETURN_IF_ERROR(Stored());
    return PinNetns(reply.fds[0].get(), record_.netns_path());
  }

  // The configuration is on disk before ADD (from then on a DEL is owed), the result after it.
  Status JoinNetwork() {
    if (NamespacesOf(config()).network() == v1::NODE) return absl::OkStatus();
    const auto wanted = config().annotations().find(kNetworkAnnotation);
    if (wanted != config().annotations().end() && wanted->second == kNoNetwork) {
      return absl::OkStatus();
    }
    RETURN_IF_ERROR_CONTEXT(ClaimNetwork(&node_, config(), &record_), "pod network");
    RETURN_IF_ERROR(Stored());
    ASSIGN_OR_RETURN_CONTEXT(
        const PodNetworkResult result,
        node_.network->Add(NetworkRequestOf(config(), record_), record_.cni_config()),
        "pod network");
    record_.set_cni_config(result.config_bytes);
    record_.set_cni_result(result.result_bytes);
    for (const std::string& ip : result.ips) record_.add_ips(ip);
    return Stored();
  }

  // Unless something has died since it was made: nobody would tell of that any more.
  Status BecomeReady() {
    record_.set_state(v1::SANDBOX_READY);
    const auto pod = node_.sandboxes.Update(id_, [this](Sandbox& sandbox) {
      if (sandbox.died.empty()) sandbox.record = record_;
    });
    if (pod == nullptr || !pod->died.empty())
      return absl::InternalError(pod == nullptr ? "the pod has been removed" : pod->died);
    return PersistSandbox(&node_, id_);
  }

  Status Stored() {
    node_.sandboxes.Update(id_, [this](Sandbox& sandbox) { sandbox.record = record_; });
    return PersistSandbox(&node_, id_);
  }

  Node& node_;
  const v1::RunPodSandboxRequest request_;
  const std::string id_;
  store::SandboxRecord record_;
  shim::LaunchedShim launched_;
  std::shared_ptr<PodShim> shim_;
  std::string hostname_;
};

}  // namespace

grpc::Status RuntimeService::RunPodSandbox(grpc::ServerContext* context,
                                           const v1::RunPodSandboxRequest* request,
                                           v1::RunPodSandboxResponse* response) {
  const std::string name = SandboxName(request->config().metadata());
  return Serve(node_.log, context, "RunPodSandbox", name, [&](const Rpc& rpc) -> absl::Status {
    RETURN_IF_ERROR(Validate(*request));
    RETURN_IF_ERROR(CheckFeatures(node_, request->config()));
    Node* node = &node_;
    CreateOperations::Work work;
    work.run = [node, copy = *request] { return SandboxStart(node, copy).Run(); };
    work.claim = [node](const std::string& id) {
      const auto made = node->sandboxes.Update(id, [](Sandbox& sandbox) {
        sandbox.claimed = true;
        KeepListEntry(&sandbox);
      });
      if (made == nullptr) return;
      PublishSandboxEvent(node, v1::CONTAINER_CREATED_EVENT, *made);
      PublishSandboxEvent(node, v1::CONTAINER_STARTED_EVENT, *made);
    };
    work.undo = [node](const std::string& id) { (void)RemoveSandbox(node, id); };
    ASSIGN_OR_RETURN(const std::string id, node_.creations->Run(
                                               "pod/" + name, std::move(work),
                                               [&rpc] { return rpc.cancelled(); }, rpc.deadline()));
    response->set_pod_sandbox_id(id);
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
