#include "imageservice/snapshot.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "imageservice/disk_usage.h"
#include "imageservice/layer_mounts.h"
#include "imageservice/trash.h"
#include "imageservice/tree_walk.h"
#include "runtime/base/log.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

constexpr char kTrash[] = ".trash";
// The writable layer's name in containers/storage and Docker, under which cAdvisor measures it.
constexpr char kUpper[] = "/diff";

Status CheckId(absl::string_view id) {
  const bool good = !id.empty() && id.size() <= 128 &&
                    absl::ascii_isalnum(static_cast<unsigned char>(id[0])) &&
                    std::all_of(id.begin(), id.end(), [](unsigned char c) {
                      return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.';
                    });
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("\"", absl::CHexEscape(id.substr(0, 128)), "\" is no container ID"));
}

// The root of the container's tree is the upper directory: as the image's topmost layer has it. The
// upper directory is not mapped; what the container writes has the host's numbers on disk.
Status CopyRootMetadata(const struct stat& from, const std::string& to, const IdMap& id_map) {
  if (chown(to.c_str(), id_map.root_uid + from.st_uid, id_map.root_gid + from.st_gid) != 0)
    return SyscallError("chown", to);
  if (chmod(to.c_str(), from.st_mode & 07777) != 0) return SyscallError("chmod", to);
  const timespec times[2] = {from.st_mtim, from.st_mtim};
  if (utimensat(AT_FDCWD, to.c_str(), times, 0) != 0) return SyscallError("utimensat", to);
  return absl::OkStatus();
}

std::vector<std::string> Names(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> PathsOf(const std::vector<ReadyLayer>& layers) {
  std::vector<std::string> paths;
  paths.reserve(layers.size());
  for (const ReadyLayer& layer : layers) paths.push_back(layer.path);
  return paths;
}

}  // namespace

struct Snapshots::State {
  const ImageStore* store = nullptr;
  std::string directory;
  std::unique_ptr<Workshop> workshop;
  std::string erofs_reason;
  std::unique_ptr<LayerMounts> mounts;
  DiskUsageCounter deleting;
  std::unique_ptr<Trash> trash;

  std::string Folder(const std::string& id) const { return absl::StrCat(directory, "/", id); }
  std::string InWorkshop(const std::string& path) const {
    return std::string(absl::StripPrefix(path, absl::StrCat(store->root(), "/")));
  }
  StatusOr<std::vector<ReadyLayer>> Lower(const std::vector<std::string>& layers) const;
  Status MakeFolders(const std::string& folder, const std::vector<ReadyLayer>& lower,
                     const IdMap& id_map) const;
};

Snapshots::Snapshots(std::unique_ptr<State> state) : state_(std::move(state)) {}
Snapshots::~Snapshots() {
  if (!List().empty()) return;
  if (const Status gone = state_->workshop->Unpin(); !gone.ok()) {
    Log(LogLevel::kWarning, "cannot unpin the workshop", {{"reason", std::string(gone.message())}});
  }
}

StatusOr<std::unique_ptr<Snapshots>> Snapshots::Open(const ImageStore* store,
                                                     const std::string& directory,
                                                     const WorkshopOptions& options) {
  absl::string_view below = directory;
  if (!absl::ConsumePrefix(&below, absl::StrCat(store->root(), "/")) || below.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", directory, "\" is not below \"", store->root(), "\""));
  }
  auto state = std::make_unique<State>();
  state->store = store;
  state->directory = directory;
  const std::string trash = absl::StrCat(directory, "/", kTrash);
  RETURN_IF_ERROR(MakeDirectories(AT_FDCWD, trash, 0700).status());
  ASSIGN_OR_RETURN(state->trash, Trash::Open(trash, &state->deleting));
  for (const std::string& name : Names(trash)) {
    RETURN_IF_ERROR(state->trash->Throw(absl::StrCat(trash, "/", name), {}));
  }
  ASSIGN_OR_RETURN(state->workshop, Workshop::Open(store->root(), options));
  const ErofsSupport support = ProbeErofs(trash, &state->erofs_reason);
  state->mounts = std::make_unique<LayerMounts>(store, state->workshop.get(), support);
  return std::unique_ptr<Snapshots>(new Snapshots(std::move(state)));
}

// The layers, top first. One that occurs twice counts where it is on top: below it changes nothing,
// and overlayfs takes no directory twice.
StatusOr<std::vector<ReadyLayer>> Snapshots::State::Lower(
    const std::vector<std::string>& layers) const {
  std::vector<ReadyLayer> lower;
  std::set<std::string> seen;
  for (auto it = layers.rbegin(); it != layers.rend(); ++it) {
    if (!seen.insert(*it).second) continue;
    ASSIGN_OR_RETURN(ReadyLayer layer, mounts->Ready(*it));
    lower.push_back(std::move(layer));
    if (lower.back().hides_below) break;
  }
  return lower;
}

Status Snapshots::State::MakeFolders(const std::string& folder,
                                     const std::vector<ReadyLayer>& lower,
                                     const IdMap& id_map) const {
  const std::string upper = folder + kUpper, work = folder + "/work";
  if (mkdir(upper.c_str(), 0755) != 0) return SyscallError("mkdir", upper);
  if (mkdir(work.c_str(), 0700) != 0) return SyscallError("mkdir", work);
  if (!lower.empty()) return CopyRootMetadata(lower[0].root, upper, id_map);
  if (chmod(upper.c_str(), 0755) != 0) return SyscallError("chmod", upper);
  if (chown(upper.c_str(), id_map.root_uid, id_map.root_gid) != 0)
    return SyscallError("chown", upper);
  return absl::OkStatus();
}

StatusOr<UniqueFd> Snapshots::Create(const std::string& container_id,
                                     const std::vector<std::string>& layers, const IdMap& id_map) {
  State& s = *state_;
  RETURN_IF_ERROR(CheckId(container_id));
  ASSIGN_OR_RETURN(const std::vector<ReadyLayer> lower, s.Lower(layers));
  const std::string folder = s.Folder(container_id);
  if (mkdir(folder.c_str(), 0700) != 0) {
    if (errno != EEXIST) return SyscallError("mkdir", folder);
    return absl::AlreadyExistsError(
        absl::StrCat("container \"", container_id, "\" has a writable layer"));
  }
  absl::Cleanup undo = [&] { (void)RemoveTree(AT_FDCWD, folder); };
  RETURN_IF_ERROR(s.MakeFolders(folder, lower, id_map));
  OverlayPlan plan;
  plan.lower = PathsOf(lower);
  plan.upper = s.InWorkshop(folder + kUpper);
  plan.work = s.InWorkshop(folder + "/work");
  plan.user_namespace = id_map.user_namespace;
  ASSIGN_OR_RETURN_CONTEXT(UniqueFd mount, s.workshop->MakeOverlay(plan),
                           absl::StrCat("root file system of container \"", container_id, "\""));
  std::move(undo).Cancel();
  return mount;
}

StatusOr<UniqueFd> Snapshots::View(const std::vector<std::string>& layers) {
  ASSIGN_OR_RETURN(const std::vector<ReadyLayer> lower, state_->Lower(layers));
  OverlayPlan plan;
  plan.lower = PathsOf(lower);
  return state_->workshop->MakeOverlay(plan);
}

StatusOr<UniqueFd> Snapshots::Volume(const std::vector<std::string>& layers,
                                     const std::string& sub_path, int user_namespace) {
  ASSIGN_OR_RETURN(const std::vector<ReadyLayer> lower, state_->Lower(layers));
  VolumePlan plan;
  plan.lower = PathsOf(lower);
  plan.sub_path = sub_path;
  plan.user_namespace = user_namespace;
  return state_->workshop->MakeVolume(plan);
}

Status Snapshots::ProbeIdMap(int user_namespace) {
  OverlayPlan plan;
  plan.lower = {state_->InWorkshop(state_->directory)};
  plan.user_namespace = user_namespace;
  return state_->workshop->MakeOverlay(plan).status();
}

Status Snapshots::Remove(const std::string& container_id) {
  RETURN_IF_ERROR(CheckId(container_id));
  return state_->trash->Throw(state_->Folder(container_id), {});
}

ErofsSupport Snapshots::erofs_support() const { return state_->mounts->support(); }

const std::string& Snapshots::erofs_reason() const { return state_->erofs_reason; }

std::string Snapshots::UpperDirectory(const std::string& container_id) const {
  return state_->Folder(container_id) + kUpper;
}

std::vector<std::string> Snapshots::List() const {
  std::vector<std::string> ids = Names(state_->directory);
  std::erase_if(ids, [](const std::string& name) { return name[0] == '.'; });
  return ids;
}

}  // namespace gantry::images
