#include "imageservice/workshop.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <filesystem>
#include <functional>
#include <future>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

#include "imageservice/tree_walk.h"
#include "imageservice/workshop_namespace.h"
#include "runtime/base/log.h"
#include "runtime/linux/file.h"
#include "runtime/linux/mount.h"
#include "runtime/linux/path_in_root.h"

namespace gantry::images {
namespace {

// Below the root: empty directories to stack under images that have too few layers, and a scratch
// folder per thread.
constexpr char kFolder[] = "workshop", kEmpty[] = "workshop/empty", kEmptier[] = "workshop/emptier";

constexpr unsigned kVolumeAttributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
constexpr unsigned long kVolumeFlags = MS_RDONLY | MS_NOSUID | MS_NODEV;

bool IsView(const OverlayPlan& plan) { return plan.upper.empty(); }

unsigned AttributesOf(const OverlayPlan& plan) {
  if (!IsView(plan)) return 0;
  return kVolumeAttributes | (plan.may_execute ? 0 : MOUNT_ATTR_NOEXEC);
}

unsigned long FlagsOf(const OverlayPlan& plan) {
  if (!IsView(plan)) return 0;
  return kVolumeFlags | (plan.may_execute ? 0 : MS_NOEXEC);
}

// overlayfs wants one layer below an upper one, and two without.
std::vector<std::string> Lower(const OverlayPlan& plan) {
  std::vector<std::string> lower = plan.lower;
  if (lower.empty() || (lower.size() == 1 && IsView(plan))) lower.push_back(kEmpty);
  if (lower.size() == 1 && IsView(plan)) lower.push_back(kEmptier);
  return lower;
}

// What images cannot ask for is off, whatever the kernel's defaults: no index, no metadata-only
// copies.
std::vector<MountOption> FixedOptions() { return {{"index", "off"}, {"metacopy", "off"}}; }

StatusOr<UniqueFd> MakeByLayer(const OverlayPlan& plan) {
  std::vector<MountOption> options;
  for (const std::string& path : Lower(plan)) options.emplace_back("lowerdir+", path);
  if (!IsView(plan)) {
    options.emplace_back("upperdir", plan.upper);
    options.emplace_back("workdir", plan.work);
    options.emplace_back("volatile", "");
  }
  for (MountOption& option : FixedOptions()) options.push_back(std::move(option));
  return NewMount("overlay", "overlay", options, AttributesOf(plan));
}

}  // namespace

struct Workshop::State {
  using Job = std::packaged_task<StatusOr<UniqueFd>(const std::string& scratch)>;

  std::string root, pin;
  bool mount2 = false;  // written before the second thread starts
  UniqueFd mount_namespace;
  std::vector<std::thread> threads;

  absl::Mutex mutex;
  std::deque<Job> jobs ABSL_GUARDED_BY(mutex);
  bool stop ABSL_GUARDED_BY(mutex) = false;

  Status EnterFirst(bool pinned, int cpu);
  void Work(const std::string& scratch);
  Status StartThread(size_t number, bool pinned, int cpu = -1);
  void EndThreads();
  Status StartPinned();
  Status StartFirst();
  StatusOr<UniqueFd> Do(std::function<StatusOr<UniqueFd>(const std::string&)> work);
};

namespace {

// A directory of the workshop as a detached mount of its own, owners mapped.
StatusOr<UniqueFd> CloneMapped(const std::string& path, int user_namespace) {
  ASSIGN_OR_RETURN(UniqueFd tree, CloneTree(AT_FDCWD, path, /*recursive=*/false));
  if (user_namespace < 0) return tree;
  struct mount_attr mapped = {};
  mapped.attr_set = MOUNT_ATTR_IDMAP;
  mapped.userns_fd = static_cast<uint64_t>(user_namespace);
  RETURN_IF_ERROR_CONTEXT(SetMountAttributes(tree.get(), mapped, /*recursive=*/false, path),
                          "map the owners of a layer");
  return tree;
}

// Attaches mounts in the workshop for as long as it lives: overlayfs takes lower directories that
// are attached, and keeps copies of its own; before Linux 6.15 nothing below a detached mount can
// be cloned. Never deleted but by rmdir(2): what still lay there would be a layer.
class Places {
 public:
  explicit Places(std::string prefix) : prefix_(std::move(prefix)) {}
  Places(const Places&) = delete;
  Places& operator=(const Places&) = delete;
  ~Places() {
    for (const std::string& place : used_) {
      (void)Unmount(place, MNT_DETACH | UMOUNT_NOFOLLOW);
      rmdir(place.c_str());
    }
  }

  StatusOr<std::string> Attach(int tree) {
    std::string place = absl::StrCat(prefix_, used_.size());
    if (mkdir(place.c_str(), 0700) != 0 && errno != EEXIST) return SyscallError("mkdir", place);
    ASSIGN_OR_RETURN(const UniqueFd target, OpenAt(AT_FDCWD, place, O_PATH | O_DIRECTORY));
    RETURN_IF_ERROR(MoveMount(tree, target.get(), place));
    used_.push_back(place);
    return place;
  }

 private:
  const std::string prefix_;
  std::vector<std::string> used_;
};

// With mount(2): the options must fit a page, however many layers there are. So each directory gets
// a short name, a link in the thread's scratch folder, and the mount is made there, copied detached
// and taken off again.
StatusOr<UniqueFd> MakeByMount2(const OverlayPlan& plan, const std::string& scratch) {
  RETURN_IF_ERROR(RemoveTree(AT_FDCWD, scratch));
  if (mkdir(scratch.c_str(), 0700) != 0) return SyscallError("mkdir", scratch);
  ASSIGN_OR_RETURN(UniqueFd home, OpenAt(AT_FDCWD, ".", O_PATH | O_DIRECTORY));
  if (chdir(scratch.c_str()) != 0) return SyscallError("chdir", scratch);
  absl::Cleanup clean = [&] {
    (void)fchdir(home.get());
    (void)RemoveTree(AT_FDCWD, scratch);
  };
  // From <root>/workshop/<scratch>/.
  auto link = [](const std::string& path, const std::string& name) {
    return symlink(absl::StrCat("../../", path).c_str(), name.c_str()) == 0
               ? absl::OkStatus()
               : SyscallError("symlink", name);
  };
  std::string data;
  const std::vector<std::string> lower = Lower(plan);
  for (size_t i = 0; i < lower.size(); ++i) {
    RETURN_IF_ERROR(link(lower[i], absl::StrCat(i)));
    absl::StrAppend(&data, i == 0 ? "lowerdir=" : ":", i);
  }
  for (const auto& [key, value] : FixedOptions()) absl::StrAppend(&data, ",", key, "=", value);
  if (!IsView(plan)) {
    RETURN_IF_ERROR(link(plan.upper, "u"));
    RETURN_IF_ERROR(link(plan.work, "w"));
    absl::StrAppend(&data, ",upperdir=u,workdir=w,volatile");
  }
  if (mkdir("m", 0700) != 0) return SyscallError("mkdir", "m");
  RETURN_IF_ERROR(Mount("overlay", "m", "overlay", FlagsOf(plan), data));
  StatusOr<UniqueFd> mount = CloneTree(AT_FDCWD, "m", /*recursive=*/false);
  RETURN_IF_ERROR(Unmount("m", MNT_DETACH));
  return mount;
}

StatusOr<UniqueFd> MakePlain(const OverlayPlan& plan, bool mount2, const std::string& scratch) {
  return mount2 ? MakeByMount2(plan, scratch) : MakeByLayer(plan);
}

StatusOr<UniqueFd> MakeMapped(OverlayPlan plan, bool mount2, const std::string& scratch) {
  if (plan.user_namespace < 0) return MakePlain(plan, mount2, scratch);
  Places places(scratch + "-mapped-");
  for (std::string& path : plan.lower) {
    ASSIGN_OR_RETURN(const UniqueFd tree, CloneMapped(path, plan.user_namespace));
    ASSIGN_OR_RETURN(path, places.Attach(tree.get()));
  }
  return MakePlain(plan, mount2, scratch);
}

StatusOr<UniqueFd> MakeWholeVolume(const VolumePlan& plan, bool mount2,
                                   const std::string& scratch) {
  if (plan.lower.size() == 1) {
    ASSIGN_OR_RETURN(UniqueFd tree, CloneMapped(plan.lower.front(), plan.user_namespace));
    struct mount_attr attributes = {};
    attributes.attr_set = kVolumeAttributes;
    RETURN_IF_ERROR(SetMountAttributes(tree.get(), attributes, /*recursive=*/false, "layer"));
    return tree;
  }
  OverlayPlan overlay;
  overlay.lower = plan.lower;
  overlay.may_execute = true;
  overlay.user_namespace = plan.user_namespace;
  return MakeMapped(std::move(overlay), mount2, scratch);
}

StatusOr<UniqueFd> MakePartOfVolume(int whole, const std::string& sub_path,
                                    const std::string& scratch) {
  Places places(scratch + "-volume-");
  ASSIGN_OR_RETURN(const std::string place, places.Attach(whole));
  ASSIGN_OR_RETURN(const UniqueFd root, OpenAt(AT_FDCWD, place, O_PATH | O_DIRECTORY));
  const StatusOr<UniqueFd> part = OpenBeneath(root.get(), sub_path, O_PATH);
  const int error = ErrnoOf(part.status());
  if (error == ENOENT || error == ENOTDIR)
    return absl::InvalidArgumentError(absl::StrCat("\"", sub_path, "\" is not in the image"));
  if (error == EXDEV || error == ELOOP)
    return absl::InvalidArgumentError(absl::StrCat("\"", sub_path, "\" leads out of the image"));
  RETURN_IF_ERROR(part.status());
  return CloneTree(part->get(), "", /*recursive=*/false);
}

// What an earlier process did not come to take off: the scratch mounts of its threads.
void ClearScratch() {
  std::error_code error;
  for (std::filesystem::directory_iterator it(kFolder, error), end; !error && it != end;
       it.increment(error)) {
    const std::string path = it->path().string();
    if (path == kEmpty || path == kEmptier) continue;
    for (const std::string& place : {path + "/m", path}) {
      while (Unmount(place, MNT_DETACH | UMOUNT_NOFOLLOW).ok()) {
      }
    }
    (void)RemoveTree(AT_FDCWD, path);
  }
}

}  // namespace

void Workshop::State::Work(const std::string& scratch) {
  auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return stop || !jobs.empty(); };
  while (true) {
    Job job;
    {
      absl::MutexLock lock(&mutex);
      mutex.Await(absl::Condition(&ready));
      if (jobs.empty()) return;
      job = std::move(jobs.front());
      jobs.pop_front();
    }
    job(scratch);
  }
}

// Into the namespace that an earlier process pinned, or a new one, made on that CPU when it is one.
Status Workshop::State::EnterFirst(bool pinned, int cpu) {
  if (pinned) {
    ASSIGN_OR_RETURN(mount_namespace, OpenPinnedWorkshop(pin));
    RETURN_IF_ERROR(EnterWorkshop(mount_namespace.get(), root));
    ClearScratch();
    return absl::OkStatus();
  }
  cpu_set_t before, one;
  CPU_ZERO(&one);
  if (cpu >= 0) CPU_SET(static_cast<size_t>(cpu), &one);
  const bool moved = cpu >= 0 && sched_getaffinity(0, sizeof(before), &before) == 0 &&
                     sched_setaffinity(0, sizeof(one), &one) == 0;
  StatusOr<UniqueFd> made = EnterNewWorkshop(root);
  if (moved) (void)sched_setaffinity(0, sizeof(before), &before);
  ASSIGN_OR_RETURN(mount_namespace, std::move(made));
  return absl::OkStatus();
}

Status Workshop::State::StartThread(size_t number, bool pinned, int cpu) {
  std::promise<Status> entered;
  std::future<Status> result = entered.get_future();
  threads.emplace_back([this, number, pinned, cpu, &entered] {
    prctl(PR_SET_NAME, "gantry:workshop");
    Status status =
        number == 0 ? EnterFirst(pinned, cpu) : EnterWorkshop(mount_namespace.get(), root);
    const bool ok = status.ok();
    entered.set_value(std::move(status));
    if (ok) Work(absl::StrCat(kFolder, "/", number));
  });
  Status status = result.get();
  if (!status.ok()) {
    threads.back().join();
    threads.pop_back();
  }
  return status;
}

void Workshop::State::EndThreads() {
  {
    absl::MutexLock lock(&mutex);
    stop = true;
  }
  for (std::thread& thread : threads) thread.join();
  threads.clear();
  absl::MutexLock lock(&mutex);
  stop = false;
}

// A namespace's file can be mounted only in one that is older, and Linux 6.18 goes by a number that
// it hands out to each CPU in batches: where ours was made lately (never on a host), a namespace
// that is newer may have a lower number, unless it is made on the same CPU.
Status Workshop::State::StartPinned() {
  const int cpus = static_cast<int>(std::thread::hardware_concurrency());
  Status pinned;
  for (int cpu = -1; cpu < cpus; ++cpu) {
    RETURN_IF_ERROR(StartThread(0, /*pinned=*/false, cpu));
    pinned = PinWorkshop(mount_namespace.get(), pin);
    if (ErrnoOf(pinned) != EINVAL) break;
    EndThreads();
  }
  if (pinned.ok()) {
    // By its lasting name, as a later process will have it.
    ASSIGN_OR_RETURN(mount_namespace, OpenPinnedWorkshop(pin));
    return absl::OkStatus();
  }
  EndThreads();
  return pinned;
}

Status Workshop::State::StartFirst() {
  if (pin.empty()) return StartThread(0, /*pinned=*/false);
  Status adopted = StartThread(0, /*pinned=*/true);
  if (adopted.ok()) return adopted;
  if (!absl::IsNotFound(adopted)) {
    Log(LogLevel::kWarning, "an earlier workshop is given up",
        {{"pin", pin}, {"reason", std::string(adopted.message())}});
  }
  Status pinned = StartPinned();
  if (pinned.ok()) return pinned;
  Log(LogLevel::kWarning,
      "the workshop cannot be pinned: after a restart of gantryd layers are mounted, and cached, "
      "a second time",
      {{"pin", pin}, {"reason", std::string(pinned.message())}});
  (void)UnpinWorkshop(pin);
  pin.clear();
  return StartThread(0, /*pinned=*/false);
}

StatusOr<UniqueFd> Workshop::State::Do(std::function<StatusOr<UniqueFd>(const std::string&)> work) {
  Job job(std::move(work));
  std::future<StatusOr<UniqueFd>> result = job.get_future();
  {
    absl::MutexLock lock(&mutex);
    jobs.push_back(std::move(job));
  }
  return result.get();
}

Workshop::Workshop(std::unique_ptr<State> state) : state_(std::move(state)) {}

Workshop::~Workshop() { state_->EndThreads(); }

StatusOr<std::unique_ptr<Workshop>> Workshop::Open(const std::string& root,
                                                   const WorkshopOptions& options) {
  ASSIGN_OR_RETURN(UniqueFd at, OpenAt(AT_FDCWD, root, O_PATH | O_DIRECTORY));
  for (const char* folder : {kFolder, kEmpty, kEmptier}) {
    RETURN_IF_ERROR(MakeDirectories(at.get(), folder, 0755).status());
  }
  auto state = std::make_unique<State>();
  state->root = root;
  state->pin = options.pin;
  std::unique_ptr<Workshop> workshop(new Workshop(std::move(state)));
  State& s = *workshop->state_;
  RETURN_IF_ERROR_CONTEXT(s.StartFirst(), "enter the workshop namespace");
  s.mount2 = options.force_mount2 || !workshop->MakeOverlay({}).ok();
  if (s.mount2) {
    RETURN_IF_ERROR_CONTEXT(workshop->MakeOverlay({}).status(), "overlayfs does not work here");
  }
  for (size_t i = 1; i < options.threads; ++i) {
    RETURN_IF_ERROR_CONTEXT(s.StartThread(i, /*pinned=*/false), "enter the workshop namespace");
  }
  return workshop;
}

StatusOr<UniqueFd> Workshop::MakeOverlay(const OverlayPlan& plan) {
  return state_->Do(
      [&](const std::string& scratch) { return MakeMapped(plan, state_->mount2, scratch); });
}

StatusOr<UniqueFd> Workshop::MakeVolume(const VolumePlan& plan) {
  return state_->Do([&](const std::string& scratch) -> StatusOr<UniqueFd> {
    ASSIGN_OR_RETURN(UniqueFd whole, MakeWholeVolume(plan, state_->mount2, scratch));
    if (plan.sub_path.empty()) return whole;
    return MakePartOfVolume(whole.get(), plan.sub_path, scratch);
  });
}

StatusOr<UniqueFd> Workshop::OpenDirectory(const std::string& path) {
  return state_->Do([&](const std::string&) {
    return OpenAt(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  });
}

Status Workshop::Attach(int mount, const std::string& path) {
  return state_
      ->Do([&](const std::string&) -> StatusOr<UniqueFd> {
        ASSIGN_OR_RETURN(UniqueFd target,
                         OpenAt(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_NOFOLLOW));
        RETURN_IF_ERROR(MoveMount(mount, target.get(), path));
        return target;
      })
      .status();
}

Status Workshop::Unpin() {
  return state_->pin.empty() ? absl::OkStatus() : UnpinWorkshop(state_->pin);
}

bool Workshop::uses_mount2() const { return state_->mount2; }

}  // namespace gantry::images
