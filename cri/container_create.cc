// CreateContainer: validate → image → record → id map → root file system → user → volumes → spec →
// cgroup → clone → continue → CREATED.
//
// Each stage may fail; RemoveContainerObject, which knows how to remove a container in any state,
// then undoes what is there.
#include <fcntl.h>
#include <sys/stat.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "cri/container_devices.h"
#include "cri/container_events.h"
#include "cri/container_seccomp.h"
#include "cri/container_teardown.h"
#include "cri/container_volumes.h"
#include "cri/image_lookup.h"
#include "cri/image_message.h"
#include "cri/image_volumes.h"
#include "cri/list_entry.h"
#include "cri/object_id.h"
#include "cri/patience.h"
#include "cri/persist.h"
#include "cri/rpc.h"
#include "cri/sandbox_lookup.h"
#include "cri/service.h"
#include "cri/spec/container_spec.h"
#include "cri/stop_signal.h"
#include "runtime/cgroup_limits.h"
#include "runtime/id_maps.h"
#include "runtime/linux/file.h"
#include "runtime/linux/path_in_root.h"
#include "runtime/spec/json.h"

namespace gantry::cri {
namespace {

constexpr size_t kUserFileLimit = 10 << 20;  // a larger passwd is an attack (CVE-2025-4437)

Status Validate(const v1::CreateContainerRequest& request) {
  const v1::ContainerConfig& config = request.config();
  if (request.pod_sandbox_id().empty())
    return absl::InvalidArgumentError("pod_sandbox_id is missing");
  if (!request.has_config() || config.metadata().name().empty())
    return absl::InvalidArgumentError("config.metadata.name is missing");
  if (config.image().image().empty())
    return absl::InvalidArgumentError("config.image.image is missing");
  const std::vector<absl::string_view> parts = absl::StrSplit(config.log_path(), '/');
  for (const absl::string_view part : parts)
    if (part == "..")
      return absl::InvalidArgumentError(
          absl::StrCat("log_path \"", config.log_path(), "\" leaves the log directory"));
  if (config.stdin_once() && !config.stdin())
    return absl::InvalidArgumentError("stdin_once needs stdin");
  return absl::OkStatus();
}

std::string LogPath(const v1::PodSandboxConfig& sandbox, const v1::ContainerConfig& container) {
  if (container.log_path().empty() || sandbox.log_directory().empty()) return "";
  return absl::StrCat(sandbox.log_directory(), "/", container.log_path());
}

// A file of the image that may be missing: passwd, group. Only a regular one is read.
StatusOr<std::string> UserFile(int rootfs, const std::string& path) {
  const auto file = OpenInRoot(rootfs, path, O_RDONLY | O_NONBLOCK);
  if (!file.ok()) return "";
  struct stat info;
  if (fstat(file->get(), &info) != 0 || !S_ISREG(info.st_mode)) return "";
  return ReadAll(file->get(), path, kUserFileLimit);
}

class ContainerCreation {
 public:
  ContainerCreation(Node* node, v1::CreateContainerRequest request,
                    std::shared_ptr<const Sandbox> sandbox)
      : node_(*node),
        request_(std::move(request)),
        sandbox_(std::move(sandbox)),
        id_(NewObjectId()) {}

  // The id of a CREATED container; on failure nothing is left.
  StatusOr<std::string> Run() {
    const std::string name = ContainerName(config().metadata(), sandbox_->config->metadata());
    RETURN_IF_ERROR_CONTEXT(node_.names.Reserve("container/" + name, id_), "create container");
    Status status = Stages();
    if (status.ok()) return id_;
    if (const Status undone = RemoveContainerObject(&node_, id_); !undone.ok())
      status = Annotate(status, absl::StrCat("(and ", undone.message(), ")"));
    if (node_.containers.Find(id_) == nullptr) node_.names.Release("container/" + name, id_);
    return WithReasonFirst(Annotate(status, absl::StrCat("create container \"", name, "\"")));
  }

 private:
  Status Stages() {
    RETURN_IF_ERROR(FindImage());
    RETURN_IF_ERROR(FindImageVolumes(*node_.images, config(), &record_));
    RETURN_IF_ERROR(RecordIntent());
    RETURN_IF_ERROR(CheckWanted());
    RETURN_IF_ERROR(FindIdMap());
    RETURN_IF_ERROR(MakeRootfs());
    RETURN_IF_ERROR(FindUser());
    RETURN_IF_ERROR(MakeVolumes());
    RETURN_IF_ERROR(BuildSpec());
    RETURN_IF_ERROR(MountVolumes());
    RETURN_IF_ERROR(MakeCgroup());
    RETURN_IF_ERROR(CheckWanted());
    RETURN_IF_ERROR(CloneInit());
    RETURN_IF_ERROR(Continue());
    RETURN_IF_ERROR(BecomeCreated());
    return CheckWanted();
  }

  const v1::ContainerConfig& config() const { return request_.config(); }
  const v1::LinuxContainerSecurityContext& security() const {
    return config().linux().security_context();
  }

  Status FindImage() {
    ASSIGN_OR_RETURN(image_, cri::FindImage(*node_.images, config().image().image()));
    return absl::OkStatus();
  }

  // Before any side effect; the layers are held from here on, whatever happens to the image.
  Status RecordIntent() {
    ASSIGN_OR_RETURN(const v1::Signal stop_signal,
                     EffectiveStopSignal(config().stop_signal(), image_->config.stop_signal));
    ASSIGN_OR_RETURN(const CgroupPaths cgroup,
                     CgroupPathsFor(node_.features.cgroups, CgroupPath()));
    record_.set_id(id_);
    record_.set_sandbox_id(sandbox_->id());
    record_.set_config(config().SerializeAsString());
    record_.set_image_id(image_->id);
    record_.set_image_ref(DigestedReference(*image_, NameAsWritten(config().image())));
    record_.set_image_name(config().image().image());
    record_.mutable_layers()->Assign(image_->layers.begin(), image_->layers.end());
    record_.set_state(v1::CONTAINER_CREATED);
    record_.set_created_at_ns(node_.store->NextCreatedAt());
    record_.set_boot_id(node_.features.boot_id);
    record_.set_log_path(LogPath(*sandbox_->config, config()));
    record_.set_stop_signal(stop_signal);
    record_.set_cgroup_path(CgroupPath());
    v1::ContainerResources resources;
    *resources.mutable_linux() = config().linux().resources();
    record_.set_resources(resources.SerializeAsString());
    RETURN_IF_ERROR(HoldImages());
    Container container;
    container.record = record_;
    container.config = std::make_shared<const v1::ContainerConfig>(config());
    container.cgroup = cgroup;
    container.claimed = false;
    node_.containers.Insert(id_, std::move(container));
    cgroup_ = cgroup;
    return node_.store->Put(record_);
  }

  // Removed between being found and being held? What is still listed now stays.
  Status HoldImages() {
    node_.images->HoldLayers(id_, HeldLayers(record_));
    std::vector<std::string> ids = {image_->id};
    for (const auto& volume : record_.image_volumes()) ids.push_back(volume.image_id());
    for (const std::string& id : ids) {
      ASSIGN_OR_RETURN(const auto still_here, node_.images->Find(id));
      if (still_here != nullptr) continue;
      node_.images->ReleaseLayers(id_);
      return absl::NotFoundError(absl::StrCat("image \"", id, "\" has been removed"));
    }
    return absl::OkStatus();
  }

  // A user namespace like the pod's, for the mounts to be mapped by: the pod's own is the shim's.
  Status FindIdMap() {
    const runtime::IdMaps maps = IdMapsOf(NamespacesOf(*sandbox_->config));
    if (maps.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(user_namespace_, runtime::MakeUserNamespace(maps));
    ASSIGN_OR_RETURN(root_, runtime::HostRoot(maps));
    return absl::OkStatus();
  }

  std::string CgroupPath() const {
    // cAdvisor takes a container for CRI-O's by the name of its cgroup.
    const char* const prefix = node_.config.metrics.cadvisor_socket.empty() ? "gantry" : "crio";
    return absl::StrCat(PodCgroupPath(sandbox_->record), "/", prefix, "-", id_);
  }

  Status MakeRootfs() {
    ASSIGN_OR_RETURN_CONTEXT(
        rootfs_,
        node_.snapshots->Create(id_, image_->layers, {user_namespace_.get(), root_.uid, root_.gid}),
        "root file system");
    return absl::OkStatus();
  }

  Status FindUser() {
    UserRequest wanted;
    if (security().has_run_as_user()) wanted.run_as_user = security().run_as_user().value();
    if (security().has_run_as_group()) wanted.run_as_group = security().run_as_group().value();
    wanted.run_as_username = security().run_as_username();
    wanted.image_user = image_->config.user;
    wanted.supplemental_groups.assign(security().supplemental_groups().begin(),
                                      security().supplemental_groups().end());
    wanted.strict_groups = security().supplemental_groups_policy() == v1::Strict;
    ASSIGN_OR_RETURN(const std::string passwd, UserFile(rootfs_.get(), "/etc/passwd"));
    ASSIGN_OR_RETURN(const std::string group, UserFile(rootfs_.get(), "/etc/group"));
    ASSIGN_OR_RETURN(user_, ResolveUser(wanted, passwd, group));
    v1::ContainerUser user;
    user.mutable_linux()->set_uid(user_.user.uid);
    user.mutable_linux()->set_gid(user_.user.gid);
    for (const uint32_t gid : user_.user.additional_gids)
      user.mutable_linux()->add_supplemental_groups(gid);
    record_.set_user(user.SerializeAsString());
    return absl::OkStatus();
  }

  Status MakeVolumes() {
    ASSIGN_OR_RETURN_CONTEXT(volumes_,
                             MakeImageVolumes(image_->config.volumes, rootfs_.get(),
                                              node_.ContainerDirectory(id_), root_),
                             "volumes of the image");
    return absl::OkStatus();
  }

  Status MountVolumes() {
    ASSIGN_OR_RETURN(mounts_, MountImageVolumes(node_.snapshots.get(), config(), record_,
                                                user_namespace_.get()));
    return absl::OkStatus();
  }

  Status BuildSpec() {
    SpecInput input;
    input.sandbox = sandbox_->config.get();
    input.container = &config();
    input.image = &image_->config;
    input.user = &user_;
    input.hostname = sandbox_->record.hostname();
    input.pod_directory = node_.PodDirectory(sandbox_->id());
    input.cgroup_path = CgroupPath();
    input.volumes = volumes_;
    // In a user namespace of its own, what the daemon lacks is not missed.
    input.held_capabilities =
        user_namespace_.valid() ? node_.features.kernel_capabilities : node_.features.capabilities;
    if (!node_.features.may_lower_oom_score_adj)
      input.lowest_oom_score_adj = node_.features.oom_score_adj;
    ASSIGN_OR_RETURN(input.apparmor_profile, node_.apparmor.ProfileFor(security()));
    ASSIGN_OR_RETURN(spec_, ContainerSpec(input));
    RETURN_IF_ERROR(AddCdiDevices(node_.devices.get(), config(), &spec_));
    ASSIGN_OR_RETURN(filter_, SeccompFilter(&node_, security(), *spec_.process->capabilities));
    record_.set_process(spec::ToJson(*spec_.process));
    return absl::OkStatus();
  }

  // Whoever stops the pod waits for the end of each container that is in the table, and has killed
  // what the shim knew of it by then. So this is asked when the container is in the table, before
  // the shim hears of it, and once it has.
  Status CheckWanted() const {
    const auto container = node_.containers.Find(id_);
    if (container == nullptr || container->killing || container->removing)
      return absl::FailedPreconditionError("it was stopped while it was made");
    const auto sandbox = node_.sandboxes.Find(sandbox_->id());
    if (sandbox != nullptr && sandbox->ready()) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        "pod sandbox \"", sandbox_->id(), "\" was stopped while its container was made"));
  }

  // Limits come before anybody is inside.
  Status MakeCgroup() {
    RETURN_IF_ERROR_CONTEXT(CreateCgroup(node_.features.cgroups, CgroupPath()), "cgroup");
    return runtime::ApplyCgroupLimits(cgroup_, *spec_.linux_.resources);
  }

  Status CloneInit() {
    shim::proto::Request request;
    auto* create = request.mutable_create_container();
    create->set_container_id(id_);
    create->set_spec_json(spec::ToJson(spec_));
    if (filter_ != nullptr) create->set_seccomp_bpf(*filter_);
    for (const std::string& type : JoinedNamespaces(*sandbox_->config, config()))
      create->add_pod_namespaces(type);
    const v1::NamespaceOption& options = NamespacesOf(config());
    if (options.pid() == v1::TARGET) create->set_pid_target_container(options.target_id());
    auto* cgroup = create->mutable_cgroup();
    cgroup->set_unified_dir(cgroup_.unified_dir);
    for (const std::string& directory : cgroup_.V1Hierarchies()) cgroup->add_v1_dirs(directory);
    cgroup->set_oom_file(cgroup_.OomFile());
    cgroup->set_clone_into(!cgroup_.unified_dir.empty());
    create->set_log_path(record_.log_path());
    create->set_stdin(config().stdin());
    create->set_stdin_once(config().stdin_once());
    create->set_rootfs_mount_point(node_.RootfsMountPoint());
    std::vector<int> fds = {rootfs_.get()};
    for (const auto& [destination, mount] : mounts_) {
      create->add_mounts(destination);
      fds.push_back(mount.get());
    }
    ASSIGN_OR_RETURN(const auto reply,
                     sandbox_->shim->client->Call(request, fds, kShimStartAnswer));
    rootfs_.Reset();  // the child has them; ours would keep the mounts alive
    mounts_.clear();
    record_.set_pid(reply.reply.create_container().pid());
    record_.set_pid_start_time(reply.reply.create_container().pid_start_time());
    return absl::OkStatus();
  }

  // Between clone and here is the place of a cgroup driver that moves the child. This one has
  // nothing to do: on v2 the child was born in its group, on v1 it enters its groups first of all.
  Status Continue() {
    shim::proto::Request request;
    request.mutable_continue_container()->set_container_id(id_);
    return sandbox_->shim->client->Call(request, {}, kShimStartAnswer).status();
  }

  Status BecomeCreated() {
    node_.containers.Update(id_, [this](Container& container) {
      if (!container.exited()) container.record = record_;
    });
    return PersistContainer(&node_, id_);
  }

  Node& node_;
  const v1::CreateContainerRequest request_;
  const std::shared_ptr<const Sandbox> sandbox_;
  const std::string id_;
  store::ContainerRecord record_;
  std::shared_ptr<const images::Image> image_;
  CgroupPaths cgroup_;
  UniqueFd user_namespace_;  // with the pod's mapping; invalid: the pod has none of its own
  runtime::HostOwner root_;  // the container's root on the host
  UniqueFd rootfs_;
  std::map<std::string, UniqueFd> mounts_;  // volumes made of images
  ResolvedUser user_;
  std::vector<VolumeMount> volumes_;
  spec::Spec spec_;
  std::shared_ptr<const std::string> filter_;
};

StatusOr<std::shared_ptr<const Sandbox>> ReadySandbox(const Node& node, const std::string& id) {
  ASSIGN_OR_RETURN(auto sandbox, FindSandbox(node, id));
  if (!sandbox->ready() || sandbox->shim == nullptr)
    return absl::FailedPreconditionError(absl::StrCat("pod sandbox \"", id, "\" is not ready"));
  return sandbox;
}

}  // namespace

grpc::Status RuntimeService::CreateContainer(grpc::ServerContext* context,
                                             const v1::CreateContainerRequest* request,
                                             v1::CreateContainerResponse* response) {
  const std::string& pod = request->pod_sandbox_id();
  return Serve(node_.log, context, "CreateContainer", pod, [&](const Rpc& rpc) -> absl::Status {
    RETURN_IF_ERROR(Validate(*request));
    ASSIGN_OR_RETURN(const auto sandbox, ReadySandbox(node_, pod));
    Node* node = &node_;
    CreateOperations::Work work;
    work.run = [node, copy = *request, sandbox] {
      return ContainerCreation(node, copy, sandbox).Run();
    };
    work.claim = [node](const std::string& id) {
      const auto made = node->containers.Update(id, [](Container& container) {
        container.claimed = true;
        KeepListEntry(&container);
      });
      if (made != nullptr) PublishContainerEvent(node, v1::CONTAINER_CREATED_EVENT, *made);
    };
    work.undo = [node](const std::string& id) { (void)RemoveContainerObject(node, id); };
    // A retry is of the same pod.
    const std::string name = absl::StrCat(
        "container/", ContainerName(request->config().metadata(), sandbox->config->metadata()),
        " of ", sandbox->id());
    ASSIGN_OR_RETURN(const std::string id, node_.creations->Run(
                                               name, std::move(work),
                                               [&rpc] { return rpc.cancelled(); }, rpc.deadline()));
    response->set_container_id(id);
    return absl::OkStatus();
  });
}

}  // namespace gantry::cri
