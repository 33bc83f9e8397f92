#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "runtime/cgroup_limits.h"
#include "runtime/linux/file.h"
#include "runtime/oci_arguments.h"
#include "runtime/oci_commands.h"
#include "runtime/oci_container.h"
#include "runtime/spec/json.h"

namespace gantry::runtime {
namespace {

constexpr int kFreezeMs = 10'000;

const OptionTable kUpdateOptions = {
    .flags = {},
    .with_value = {"resources", "memory", "memory-swap", "memory-reservation", "cpu-shares",
                   "cpu-share", "cpu-quota", "cpu-period", "cpu-burst", "cpu-idle", "cpuset-cpus",
                   "cpuset-mems", "pids-limit"},
    .short_names = {{'r', "resources"}}};

template <typename T>
Status ReadNumber(const Options& options, const std::string& name, std::optional<T>& out) {
  if (!options.Has(name)) return absl::OkStatus();
  T value = 0;
  if (!absl::SimpleAtoi(options.Get(name), &value)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--", name, ": \"", options.Get(name), "\" is not a number"));
  }
  out = value;
  return absl::OkStatus();
}

StatusOr<spec::Resources> ResourcesOf(const Options& options) {
  if (options.Has("resources")) {
    const std::string file = options.Get("resources");
    ASSIGN_OR_RETURN(const std::string text,
                     file == "-" ? ReadAll(STDIN_FILENO, "resources") : ReadFileAt(AT_FDCWD, file));
    return spec::ParseResources(text);
  }
  spec::Resources resources;
  spec::MemoryLimits& memory = resources.memory.emplace();
  spec::CpuLimits& cpu = resources.cpu.emplace();
  RETURN_IF_ERROR(ReadNumber(options, "memory", memory.limit));
  RETURN_IF_ERROR(ReadNumber(options, "memory-swap", memory.swap));
  RETURN_IF_ERROR(ReadNumber(options, "memory-reservation", memory.reservation));
  RETURN_IF_ERROR(ReadNumber(options, "cpu-share", cpu.shares));
  RETURN_IF_ERROR(ReadNumber(options, "cpu-shares", cpu.shares));
  RETURN_IF_ERROR(ReadNumber(options, "cpu-quota", cpu.quota));
  RETURN_IF_ERROR(ReadNumber(options, "cpu-period", cpu.period));
  RETURN_IF_ERROR(ReadNumber(options, "cpu-burst", cpu.burst));
  RETURN_IF_ERROR(ReadNumber(options, "cpu-idle", cpu.idle));
  RETURN_IF_ERROR(ReadNumber(options, "pids-limit", resources.pids_limit));
  cpu.cpus = options.Get("cpuset-cpus");
  cpu.mems = options.Get("cpuset-mems");
  return resources;
}

StatusOr<CgroupPaths> LiveCgroup(const OciGlobals& globals, const Options& options) {
  if (options.positional.size() != 1)
    return absl::InvalidArgumentError("exactly one container name is needed");
  ASSIGN_OR_RETURN(const OciStateDir dir, OciStateDir::At(globals.root, options.positional[0]));
  ASSIGN_OR_RETURN(const OciRecord record, dir.Load());
  ASSIGN_OR_RETURN(const OciStatus status, StatusOf(dir, record));
  if (status == OciStatus::kStopped) return absl::FailedPreconditionError("container not running");
  return CgroupOf(record);
}

// v2 announces by cgroup.events when all are frozen; v1 has freezer.state to read again.
Status AwaitFrozen(const CgroupPaths& paths) {
  const bool v1 = paths.IsV1("freezer");
  const std::string file = paths.DirOf("freezer") + (v1 ? "/freezer.state" : "/cgroup.events");
  const absl::string_view frozen = v1 ? "FROZEN" : "frozen 1";
  for (int waited = 0; waited < kFreezeMs; waited += 10) {
    ASSIGN_OR_RETURN(const UniqueFd events, OpenAt(AT_FDCWD, file, O_RDONLY));
    ASSIGN_OR_RETURN(const std::string text, ReadAll(events.get(), file));
    for (const absl::string_view line : absl::StrSplit(text, '\n')) {
      if (line == frozen) return absl::OkStatus();
    }
    pollfd changed = {.fd = v1 ? -1 : events.get(), .events = POLLPRI, .revents = 0};
    poll(&changed, 1, 10);
  }
  return absl::DeadlineExceededError("not all processes of the container could be frozen");
}

Status SetFrozen(const CgroupPaths& paths, bool frozen) {
  const bool v1 = paths.IsV1("freezer");
  const std::string file = paths.DirOf("freezer") + (v1 ? "/freezer.state" : "/cgroup.freeze");
  const absl::string_view value = v1 ? (frozen ? "FROZEN" : "THAWED") : (frozen ? "1" : "0");
  return WriteFileAt(AT_FDCWD, file, value);
}

}  // namespace

StatusOr<int> UpdateCommand(const OciGlobals& globals, OciArguments arguments) {
  ASSIGN_OR_RETURN(const Options options, ParseOptions(kUpdateOptions, arguments));
  ASSIGN_OR_RETURN(const CgroupPaths paths, LiveCgroup(globals, options));
  ASSIGN_OR_RETURN(const spec::Resources resources, ResourcesOf(options));
  RETURN_IF_ERROR(UpdateCgroupLimits(paths, resources));
  return 0;
}

StatusOr<int> PauseCommand(const OciGlobals& globals, OciArguments arguments) {
  ASSIGN_OR_RETURN(const Options options, ParseOptions({}, arguments));
  ASSIGN_OR_RETURN(const CgroupPaths paths, LiveCgroup(globals, options));
  RETURN_IF_ERROR(SetFrozen(paths, true));
  const Status status = AwaitFrozen(paths);
  if (status.ok()) return 0;
  SetFrozen(paths, false).IgnoreError();
  return status;
}

StatusOr<int> ResumeCommand(const OciGlobals& globals, OciArguments arguments) {
  ASSIGN_OR_RETURN(const Options options, ParseOptions({}, arguments));
  ASSIGN_OR_RETURN(const CgroupPaths paths, LiveCgroup(globals, options));
  RETURN_IF_ERROR(SetFrozen(paths, false));
  return 0;
}

}  // namespace gantry::runtime
