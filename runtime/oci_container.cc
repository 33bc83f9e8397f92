#include "runtime/oci_container.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "runtime/cgroup_limits.h"
#include "runtime/hooks.h"
#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"
#include "runtime/linux/process.h"
#include "runtime/oci_keeper.h"
#include "runtime/seccomp/compile.h"
#include "runtime/spec/json.h"
#include "runtime/spec/validate.h"

namespace gantry::runtime {
namespace {

using std::chrono::seconds;

constexpr size_t kMaxConfig = 4 << 20;

bool IsBind(const spec::Mount& mount) {
  if (mount.type == "bind") return true;
  for (const std::string& option : mount.options) {
    if (option == "bind" || option == "rbind") return true;
  }
  return false;
}

std::string Absolute(const std::string& path, const std::string& base) {
  return absl::StartsWith(path, "/") ? path : absl::StrCat(base, "/", path);
}

StatusOr<std::string> RealPath(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(realpath(path.c_str(), nullptr), free);
  if (real == nullptr) return SyscallError("resolve", path);
  return std::string(real.get());
}

// Limits first, then the process: at no time does anything of the container run unlimited.
Status MakeCgroup(const CgroupHost& host, const CgroupPaths& paths, const OciRecord& record,
                  const spec::Spec& spec) {
  RETURN_IF_ERROR(CreateCgroup(host, record.cgroup_path));
  absl::Cleanup undo = [&paths] { RemoveCgroup(paths).IgnoreError(); };
  RETURN_IF_ERROR(ApplyCgroupLimits(paths, spec.linux_.resources.value_or(spec::Resources())));
  std::move(undo).Cancel();
  return absl::OkStatus();
}

void KillAndReap(const Creation& creation) {
  SignalPidFd(creation.pidfd(), SIGKILL).IgnoreError();
  WaitPidFd(creation.pidfd(), /*block=*/true).IgnoreError();
}

// From CLONED to READY.
Status SetUp(Creation& creation, const CgroupPaths& paths, OciRecord& record,
             const spec::Spec& spec) {
  record.pid = creation.pid();
  ASSIGN_OR_RETURN(record.pid_start_time, ProcessStartTime(record.pid));
  const std::string state = StateJson(record, spec, OciStatus::kCreated);
  // Hooks expect to find it in its groups; without any it enters them by itself.
  if (!spec.hooks.prestart.empty() || !spec.hooks.create_runtime.empty())
    RETURN_IF_ERROR(JoinCgroup(paths, record.pid));
  RETURN_IF_ERROR(RunHooks("prestart", spec.hooks.prestart, state));
  RETURN_IF_ERROR(RunHooks("createRuntime", spec.hooks.create_runtime, state));
  RETURN_IF_ERROR(creation.Continue());
  return DriveTo(creation, Creation::Step::kCreated);
}

StatusOr<Creation> MakeInit(const spec::Spec& spec, const CgroupPaths& paths, OciRecord& record,
                            const std::string& seccomp_bpf) {
  CreateRequest request;
  request.spec = &spec;
  request.seccomp_bpf = seccomp_bpf;
  for (int fd = 0; fd < 3; ++fd) request.stdio[fd] = fd;
  request.v1_cgroup_dirs = paths.V1Hierarchies();
  UniqueFd group;
  if (!paths.unified_dir.empty()) {
    ASSIGN_OR_RETURN(group, OpenAt(AT_FDCWD, paths.unified_dir, O_RDONLY | O_DIRECTORY));
    request.cgroup_fd = group.get();
  }
  ASSIGN_OR_RETURN(Creation creation, Creation::Begin(request));
  const Status status = SetUp(creation, paths, record, spec);
  if (status.ok()) return creation;
  KillAndReap(creation);
  return status;
}

// CRI and Docker number signals, people name them; here only what follows the last pid matters.
Status StopEverything(const OciRecord& record, const CgroupPaths& paths) {
  ASSIGN_OR_RETURN(const UniqueFd init, OpenInit(record));
  if (init.valid()) RETURN_IF_ERROR(SignalPidFd(init.get(), SIGKILL));
  return KillCgroup(paths);
}

}  // namespace

StatusOr<spec::Spec> LoadBundle(const std::string& bundle) {
  ASSIGN_OR_RETURN(const std::string text,
                   ReadFileAt(AT_FDCWD, bundle + "/config.json", kMaxConfig));
  ASSIGN_OR_RETURN(spec::Spec spec, spec::ParseSpec(text));
  RETURN_IF_ERROR_CONTEXT(spec::Validate(spec), "config.json");
  ASSIGN_OR_RETURN_CONTEXT(spec.root.path, RealPath(Absolute(spec.root.path, bundle)), "rootfs");
  for (spec::Mount& mount : spec.mounts) {
    if (IsBind(mount)) mount.source = Absolute(mount.source, bundle);
  }
  return spec;
}

StatusOr<std::string> CgroupPathOf(const spec::Spec& spec, const std::string& id) {
  const std::string& path = spec.linux_.cgroups_path;
  if (path.empty()) return absl::StrCat("/gantry-oci-", id);
  if (absl::StrContains(path, ":")) {
    return absl::UnimplementedError(
        absl::StrCat("cgroupsPath \"", path, "\": the systemd driver is not implemented"));
  }
  return Absolute(path, "");
}

StatusOr<std::string> CompileSeccomp(const spec::Spec& spec) {
  if (!spec.linux_.seccomp.has_value()) return std::string();
  std::set<std::string> capabilities;
  if (spec.process.has_value() && spec.process->capabilities.has_value()) {
    const auto& bounding = spec.process->capabilities->bounding;
    capabilities.insert(bounding.begin(), bounding.end());
  }
  ASSIGN_OR_RETURN(const seccomp::Profile profile,
                   seccomp::ParseProfile(spec::ToJson(*spec.linux_.seccomp),
                                         seccomp::Environment::Current(std::move(capabilities))));
  return seccomp::Compile(profile);
}

StatusOr<OciContainer> CreateOciContainer(const OciCreateOptions& options) {
  ASSIGN_OR_RETURN(const OciStateDir dir, OciStateDir::At(options.root, options.id));
  ASSIGN_OR_RETURN_CONTEXT(const std::string bundle, RealPath(options.bundle), "bundle");
  ASSIGN_OR_RETURN(spec::Spec spec, LoadBundle(bundle));
  if (!spec.process.has_value())
    return absl::InvalidArgumentError("config.json: process: is missing");
  ASSIGN_OR_RETURN(const std::string seccomp_bpf, CompileSeccomp(spec));
  OciRecord record{.id = options.id, .bundle = bundle, .rootfs = spec.root.path};
  ASSIGN_OR_RETURN(record.cgroup_path, CgroupPathOf(spec, options.id));
  record.created = absl::FormatTime(absl::RFC3339_full, absl::Now(), absl::UTCTimeZone());
  ASSIGN_OR_RETURN(const CgroupHost host, DetectCgroupHost());
  ASSIGN_OR_RETURN(const CgroupPaths paths, CgroupPathsFor(host, record.cgroup_path));

  RETURN_IF_ERROR(dir.Make());
  absl::Cleanup remove_dir = [&dir] { dir.Remove().IgnoreError(); };
  RETURN_IF_ERROR(MakeCgroup(host, paths, record, spec));
  absl::Cleanup remove_group = [&paths] {
    KillCgroup(paths).IgnoreError();
    RemoveCgroup(paths, seconds(5)).IgnoreError();
  };
  RETURN_IF_ERROR(dir.SaveConfiguration(spec, seccomp_bpf));
  ASSIGN_OR_RETURN(Creation creation, MakeInit(spec, paths, record, seccomp_bpf));
  if (const Status saved = dir.Save(record); !saved.ok()) {
    KillAndReap(creation);
    return saved;
  }
  std::move(remove_group).Cancel();
  std::move(remove_dir).Cancel();
  return OciContainer{dir, std::move(record), std::move(spec), std::move(creation)};
}

StatusOr<CgroupPaths> CgroupOf(const OciRecord& record) {
  ASSIGN_OR_RETURN(const CgroupHost host, DetectCgroupHost());
  return CgroupPathsFor(host, record.cgroup_path);
}

Status DestroyOciContainer(const OciStateDir& dir, const OciRecord& record) {
  ASSIGN_OR_RETURN(const CgroupPaths paths, CgroupOf(record));
  RETURN_IF_ERROR(StopEverything(record, paths));
  RETURN_IF_ERROR(RemoveCgroup(paths, seconds(10)));
  if (const auto spec = dir.LoadSpec(); spec.ok()) {
    const std::string state = StateJson(record, *spec, OciStatus::kStopped);
    const Status hooks = RunHooks("poststop", spec->hooks.poststop, state);
    if (!hooks.ok())
      fprintf(stderr, "gantry-oci: ignoring: %s\n", std::string(hooks.message()).c_str());
  }
  return dir.Remove();
}

}  // namespace gantry::runtime
