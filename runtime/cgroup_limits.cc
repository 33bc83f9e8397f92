#include "runtime/cgroup_limits.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "runtime/cgroup_devices.h"
#include "runtime/linux/file.h"
#include "runtime/spec/validate.h"

namespace gantry::runtime {
namespace {

using IfMissing = CgroupWrite::IfMissing;

constexpr uint64_t kDefaultPeriod = 100'000;  // µs

// Collects the writes of one plan.
class Plan {
 public:
  explicit Plan(const std::set<std::string>& v1) : v1_(v1) {}
  [[nodiscard]] bool IsV1(absl::string_view controller) const {
    return v1_.contains(std::string(controller));
  }
  void Add(absl::string_view controller, absl::string_view file, std::string value,
           IfMissing if_missing = IfMissing::kFail) {
    writes_.push_back({.controller = std::string(controller),
                       .file = std::string(file),
                       .value = std::move(value),
                       .if_missing = if_missing});
  }
  std::vector<CgroupWrite> Take() { return std::move(writes_); }

 private:
  const std::set<std::string>& v1_;
  std::vector<CgroupWrite> writes_;
};

std::string BytesOrMax(int64_t bytes) { return bytes < 0 ? "max" : absl::StrCat(bytes); }

void PlanMemoryV1(const spec::MemoryLimits& memory, Plan& plan) {
  if (memory.limit.value_or(0) != 0)
    plan.Add("memory", "memory.limit_in_bytes", absl::StrCat(*memory.limit));
  int64_t swap = memory.swap.value_or(0);
  // A limit that is lifted takes the sum with it: the kernel refuses memory over memory + swap.
  const bool lifted = swap == 0 && memory.limit == -1;
  if (lifted) swap = -1;
  // Without swap accounting there is no such file: who asks for no swap at all loses nothing.
  const bool no_swap = swap <= memory.limit.value_or(0);
  if (swap != 0) {
    plan.Add("memory", "memory.memsw.limit_in_bytes", absl::StrCat(swap),
             no_swap ? IfMissing::kSkip : IfMissing::kFail);
  }
  if (memory.reservation.value_or(0) != 0)
    plan.Add("memory", "memory.soft_limit_in_bytes", absl::StrCat(*memory.reservation));
  if (memory.disable_oom_killer.has_value())
    plan.Add("memory", "memory.oom_control", *memory.disable_oom_killer ? "1" : "0");
}

Status PlanMemoryV2(const spec::MemoryLimits& memory, Plan& plan) {
  if (memory.disable_oom_killer.value_or(false))
    return absl::InvalidArgumentError("memory.disableOOMKiller: cgroup v2 has no such thing");
  const int64_t limit = memory.limit.value_or(0);
  int64_t swap = memory.swap.value_or(0);
  if (swap == 0 && limit == -1) swap = -1;
  if (limit != 0) plan.Add("memory", "memory.max", BytesOrMax(limit));
  if (swap != 0) {
    const int64_t swap_alone = swap < 0 ? -1 : swap - limit;
    plan.Add("memory", "memory.swap.max", BytesOrMax(swap_alone),
             swap_alone <= 0 ? IfMissing::kSkip : IfMissing::kFail);
  }
  if (memory.reservation.value_or(0) != 0)
    plan.Add("memory", "memory.low", BytesOrMax(*memory.reservation));
  return absl::OkStatus();
}

void PlanCpuTimeV1(const spec::CpuLimits& cpu, Plan& plan) {
  if (cpu.period.value_or(0) != 0) plan.Add("cpu", "cpu.cfs_period_us", absl::StrCat(*cpu.period));
  if (cpu.quota.value_or(0) != 0)
    plan.Add("cpu", "cpu.cfs_quota_us", *cpu.quota < 0 ? "-1" : absl::StrCat(*cpu.quota));
  if (cpu.burst.has_value()) plan.Add("cpu", "cpu.cfs_burst_us", absl::StrCat(*cpu.burst));
}

void PlanCpuTimeV2(const spec::CpuLimits& cpu, Plan& plan) {
  const int64_t quota = cpu.quota.value_or(0);
  const uint64_t period = cpu.period.value_or(0);
  if (quota != 0 || period != 0) {
    plan.Add("cpu", "cpu.max",
             absl::StrCat(quota > 0 ? absl::StrCat(quota) : "max", " ",
                          period != 0 ? period : kDefaultPeriod));
  }
  if (cpu.burst.has_value()) plan.Add("cpu", "cpu.max.burst", absl::StrCat(*cpu.burst));
}

void PlanCpu(const spec::CpuLimits& cpu, Plan& plan) {
  const bool v1 = plan.IsV1("cpu");
  if (cpu.idle.has_value()) plan.Add("cpu", "cpu.idle", absl::StrCat(*cpu.idle));
  // An idle group has no weight: the kernel refuses one.
  const bool idle = cpu.idle.value_or(0) == 1;
  if (cpu.shares.value_or(0) != 0 && !idle) {
    plan.Add("cpu", v1 ? "cpu.shares" : "cpu.weight",
             absl::StrCat(v1 ? *cpu.shares : CpuWeightFromShares(*cpu.shares)));
  }
  v1 ? PlanCpuTimeV1(cpu, plan) : PlanCpuTimeV2(cpu, plan);
  if (!cpu.cpus.empty()) plan.Add("cpuset", "cpuset.cpus", cpu.cpus);
  if (!cpu.mems.empty()) plan.Add("cpuset", "cpuset.mems", cpu.mems);
}

void PlanThrottle(const std::vector<spec::BlockDeviceRate>& rates, absl::string_view v1_file,
                  absl::string_view v2_key, Plan& plan) {
  for (const spec::BlockDeviceRate& rate : rates) {
    const std::string device = absl::StrCat(rate.major, ":", rate.minor, " ");
    if (plan.IsV1("blkio")) {
      plan.Add("blkio", v1_file, absl::StrCat(device, rate.rate));
    } else {
      plan.Add("io", "io.max",
               absl::StrCat(device, v2_key, "=", rate.rate == 0 ? "max" : absl::StrCat(rate.rate)));
    }
  }
}

void PlanBlockIo(const spec::BlockIoLimits& io, Plan& plan) {
  // The files exist as far as a scheduler that knows weights is built in: best effort, as under
  // runc.
  if (const uint64_t weight = io.weight.value_or(0); weight != 0) {
    if (plan.IsV1("blkio")) {
      plan.Add("blkio", "blkio.bfq.weight", absl::StrCat(weight), IfMissing::kSkip);
      plan.Add("blkio", "blkio.weight", absl::StrCat(weight), IfMissing::kSkip);
    } else {
      plan.Add("io", "io.bfq.weight", absl::StrCat(weight), IfMissing::kSkip);
      plan.Add("io", "io.weight", absl::StrCat(1 + (weight - 10) * 9999 / 990), IfMissing::kSkip);
    }
  }
  PlanThrottle(io.read_bps, "blkio.throttle.read_bps_device", "rbps", plan);
  PlanThrottle(io.write_bps, "blkio.throttle.write_bps_device", "wbps", plan);
  PlanThrottle(io.read_iops, "blkio.throttle.read_iops_device", "riops", plan);
  PlanThrottle(io.write_iops, "blkio.throttle.write_iops_device", "wiops", plan);
}

// The kubelet names every page size of the machine, limit 0 where nothing was asked for: a host
// without the controller must not refuse that (containerd's default as well).
void PlanHugepages(const std::vector<spec::HugepageLimit>& limits, Plan& plan) {
  const absl::string_view suffix = plan.IsV1("hugetlb") ? "limit_in_bytes" : "max";
  for (const spec::HugepageLimit& limit : limits) {
    const std::string prefix = absl::StrCat("hugetlb.", limit.page_size, ".");
    const std::string value = absl::StrCat(limit.limit);
    plan.Add("hugetlb", prefix + std::string(suffix), value, IfMissing::kSkip);
    plan.Add("hugetlb", absl::StrCat(prefix, "rsvd.", suffix), value, IfMissing::kSkip);
  }
}

Status PlanUnified(const std::map<std::string, std::string>& unified, Plan& plan) {
  for (const auto& [file, value] : unified) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(file, absl::MaxSplits('.', 1));
    if (plan.IsV1(parts.first == "io" ? "blkio" : parts.first)) {
      return absl::InvalidArgumentError(absl::StrCat("unified.", file, ": the ", parts.first,
                                                     " controller is on cgroup v1 here"));
    }
    plan.Add(parts.first, file, value);
  }
  return absl::OkStatus();
}

Status WriteLimit(const CgroupPaths& paths, const CgroupWrite& write) {
  const std::string& dir = paths.DirOf(write.controller);
  const std::string path = absl::StrCat(dir, "/", write.file);
  const Status status = WriteFileAt(AT_FDCWD, path, write.value);
  if (status.ok()) return status;
  if (ErrnoOf(status) != ENOENT || access(dir.c_str(), F_OK) != 0)
    return Annotate(status, absl::StrCat("set ", write.file, " to \"", write.value, "\""));
  if (write.if_missing == IfMissing::kSkip) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "set ", write.file, " to \"", write.value, "\": ", dir, " has no such file (the ",
      write.controller, " controller is not enabled there, or the kernel lacks it)"));
}

// Some files bound each other (memory ≤ memory + swap, burst ≤ quota, quota against period), and
// which must go first depends on the values that are there. So what is refused as EINVAL is tried
// again once the others are written.
Status WriteLimits(const CgroupPaths& paths, std::vector<CgroupWrite> writes) {
  while (!writes.empty()) {
    std::vector<CgroupWrite> refused;
    Status first;
    for (CgroupWrite& write : writes) {
      const Status status = WriteLimit(paths, write);
      if (status.ok()) continue;
      if (ErrnoOf(status) != EINVAL) return status;
      if (first.ok()) first = status;
      refused.push_back(std::move(write));
    }
    if (refused.size() == writes.size()) return first;
    writes = std::move(refused);
  }
  return absl::OkStatus();
}

std::set<std::string> V1Controllers(const CgroupPaths& paths) {
  std::set<std::string> names;
  for (const auto& [controller, dir] : paths.v1_dirs) names.insert(controller);
  return names;
}

// Writes that bring the present values back. Files with a line per device (io.max) get their lines,
// and a device that had none becomes unlimited.
std::vector<CgroupWrite> PresentValues(const CgroupPaths& paths,
                                       const std::vector<CgroupWrite>& writes) {
  std::vector<CgroupWrite> present;
  for (const CgroupWrite& write : writes) {
    const auto text =
        ReadFileAt(AT_FDCWD, absl::StrCat(paths.DirOf(write.controller), "/", write.file));
    if (!text.ok()) continue;  // missing, or only writable
    const absl::string_view value = absl::StripAsciiWhitespace(*text);
    const bool by_device =
        absl::StartsWith(write.file, "blkio.throttle.") || write.file == "io.max";
    if (!by_device && !value.empty())
      present.push_back({write.controller, write.file, std::string(value), IfMissing::kSkip});
    if (!by_device) continue;
    const std::string device = write.value.substr(0, write.value.find(' '));
    std::string line = absl::StrCat(
        device, write.file == "io.max" ? " rbps=max wbps=max riops=max wiops=max" : " 0");
    for (const absl::string_view known : absl::StrSplit(value, '\n')) {
      if (absl::StartsWith(known, device + " ")) line = std::string(known);
    }
    present.push_back({write.controller, write.file, line, IfMissing::kSkip});
  }
  return present;
}

}  // namespace

uint64_t CpuWeightFromShares(uint64_t shares) {
  if (shares <= 2) return 1;
  if (shares >= 262144) return 10000;
  const double l = std::log2(static_cast<double>(shares));
  const double exponent = (l * l + 125 * l) / 612.0 - 7.0 / 34.0;
  return static_cast<uint64_t>(std::ceil(std::pow(10, exponent)));
}

StatusOr<std::vector<CgroupWrite>> PlanCgroupLimits(const spec::Resources& resources,
                                                    const std::set<std::string>& v1_controllers) {
  RETURN_IF_ERROR_CONTEXT(spec::ValidateResources(resources), "resources");
  Plan plan(v1_controllers);
  if (resources.memory.has_value()) {
    if (plan.IsV1("memory")) {
      PlanMemoryV1(*resources.memory, plan);
    } else {
      RETURN_IF_ERROR(PlanMemoryV2(*resources.memory, plan));
    }
  }
  if (resources.cpu.has_value()) PlanCpu(*resources.cpu, plan);
  if (resources.block_io.has_value()) PlanBlockIo(*resources.block_io, plan);
  if (resources.pids_limit.has_value())
    plan.Add("pids", "pids.max", BytesOrMax(*resources.pids_limit));
  PlanHugepages(resources.hugepage_limits, plan);
  RETURN_IF_ERROR(PlanUnified(resources.unified, plan));
  return plan.Take();
}

Status ApplyCgroupLimits(const CgroupPaths& paths, const spec::Resources& resources) {
  ASSIGN_OR_RETURN(std::vector<CgroupWrite> writes,
                   PlanCgroupLimits(resources, V1Controllers(paths)));
  RETURN_IF_ERROR(WriteLimits(paths, std::move(writes)));
  return SetDeviceRules(paths, resources.devices);
}

Status UpdateCgroupLimits(const CgroupPaths& paths, const spec::Resources& resources) {
  ASSIGN_OR_RETURN(const std::vector<CgroupWrite> writes,
                   PlanCgroupLimits(resources, V1Controllers(paths)));
  std::vector<CgroupWrite> present = PresentValues(paths, writes);
  Status status = WriteLimits(paths, writes);
  if (status.ok() && !resources.devices.empty()) status = SetDeviceRules(paths, resources.devices);
  if (status.ok()) return status;
  const Status undone = WriteLimits(paths, std::move(present));
  if (undone.ok()) return status;
  return Annotate(status,
                  absl::StrCat("the old limits could not be restored (", undone.message(), ")"));
}

}  // namespace gantry::runtime
