#include "cri/metrics/cgroup_detail.h"

#include <dirent.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "cri/metrics/open_text.h"
#include "runtime/linux/directory_stream.h"

namespace gantry::cri {
namespace {

constexpr uint64_t kNsPerUs = 1000;

// "2MB" for 2048 kB: as hugetlb_cgroup names its files.
std::string HugePageName(uint64_t kilobytes) {
  if (kilobytes >= 1 << 20) return absl::StrCat(kilobytes >> 20, "GB");
  if (kilobytes >= 1 << 10) return absl::StrCat(kilobytes >> 10, "MB");
  return absl::StrCat(kilobytes, "KB");
}

std::vector<std::string> FindHugePageSizes() {
  std::vector<std::string> sizes;
  const DirectoryStream stream(opendir("/sys/kernel/mm/hugepages"));
  if (stream == nullptr) return sizes;
  while (const dirent* entry = readdir(stream.get())) {
    absl::string_view name = entry->d_name;
    uint64_t kilobytes = 0;
    if (absl::ConsumePrefix(&name, "hugepages-") && absl::ConsumeSuffix(&name, "kB") &&
        absl::SimpleAtoi(name, &kilobytes))
      sizes.push_back(HugePageName(kilobytes));
  }
  return sizes;
}

// Of this machine: fixed at boot.
const std::vector<std::string>& HugePageSizes() {
  static const std::vector<std::string> sizes = FindHugePageSizes();
  return sizes;
}

// The inverse of runtime::CpuWeightFromShares, so that dashboards show on v2 what was asked for.
uint64_t SharesFromWeight(uint64_t weight) {
  const double square =
      125.0 * 125 + 4 * 612 * (std::log10(static_cast<double>(weight)) + 7.0 / 34);
  return static_cast<uint64_t>(std::llround(std::exp2((std::sqrt(square) - 125) / 2)));
}

}  // namespace

int DetailReader::MostDescriptors() {
  constexpr int kOfOneSize = 2, kOthers = 15;
  return kOthers + kOfOneSize * static_cast<int>(HugePageSizes().size());
}

std::string DetailReader::Text(absl::string_view controller, const std::string& file) {
  auto kept = files_.find(file);
  if (kept == files_.end()) {
    UniqueFd opened = OpenCgroupFile(group_->DirectoryOf(controller), file.c_str());
    // Too many descriptors, say: another time.
    if (!opened.valid() && errno != ENOENT) return "";
    kept = files_.emplace(file, std::move(opened)).first;
  }
  return std::string(OpenText(kept->second).text());
}

std::optional<uint64_t> DetailReader::Count(absl::string_view controller, const std::string& file) {
  return ParseCount(Text(controller, file));
}

GroupDetail DetailReader::Read() {
  absl::MutexLock lock(&mutex_);
  GroupDetail detail;
  ReadCpu(&detail);
  ReadMemory(&detail);
  ReadIo(&detail);
  ReadHugePages(&detail);
  detail.threads = Count("pids", "pids.current");
  detail.max_threads = Count("pids", "pids.max");
  return detail;
}

void DetailReader::ReadHugePages(GroupDetail* detail) {
  const bool v1 = group_->V1("hugetlb");
  for (const std::string& size : HugePageSizes()) {
    const auto usage =
        Count("hugetlb", absl::StrCat("hugetlb.", size, v1 ? ".usage_in_bytes" : ".current"));
    if (!usage) continue;
    // v2 keeps no maximum.
    detail->huge_pages.push_back(
        {size, *usage,
         v1 ? Count("hugetlb", absl::StrCat("hugetlb.", size, ".max_usage_in_bytes"))
            : std::nullopt});
  }
}

void DetailReader::ReadCpu(GroupDetail* detail) {
  if (group_->V1("cpuacct")) {
    detail->cpu_user_ns = Count("cpuacct", "cpuacct.usage_user");
    detail->cpu_system_ns = Count("cpuacct", "cpuacct.usage_sys");
  }
  const std::string stat = Text("cpu", "cpu.stat");
  if (group_->V1("cpu")) {
    ParseKeyedCounts(stat, {{"nr_periods", &detail->periods},
                            {"nr_throttled", &detail->throttled_periods},
                            {"throttled_time", &detail->throttled_ns}});
    detail->cpu_shares = Count("cpu", "cpu.shares");
    detail->period_us = Count("cpu", "cpu.cfs_period_us");
    // "-1" is no count, and no quota.
    detail->quota_us = Count("cpu", "cpu.cfs_quota_us").value_or(kNoLimit);
    return;
  }
  ParseKeyedCounts(stat, {{"nr_periods", &detail->periods},
                          {"nr_throttled", &detail->throttled_periods},
                          {"throttled_usec", &detail->throttled_ns}});
  if (detail->throttled_ns) *detail->throttled_ns *= kNsPerUs;
  if (const auto weight = Count("cpu", "cpu.weight"); weight && *weight > 0)
    detail->cpu_shares = SharesFromWeight(*weight);
  const std::vector<std::string> max = absl::StrSplit(Text("cpu", "cpu.max"), ' ');
  if (max.size() != 2) return;
  detail->quota_us = ParseCount(max[0]);
  detail->period_us = ParseCount(max[1]);
}

void DetailReader::ReadMemory(GroupDetail* detail) {
  if (group_->V1("memory")) {
    detail->max_memory = Count("memory", "memory.max_usage_in_bytes");
    detail->limit_hits = Count("memory", "memory.failcnt");
    detail->kernel_memory = Count("memory", "memory.kmem.usage_in_bytes");
    detail->reserved_memory = Count("memory", "memory.soft_limit_in_bytes");
    ParseKeyedCounts(Text("memory", "memory.oom_control"), {{"oom_kill", &detail->oom_kills}});
    return;
  }
  detail->max_memory = Count("memory", "memory.peak");  // Linux 5.19
  detail->reserved_memory = Count("memory", "memory.min");
  ParseKeyedCounts(Text("memory", "memory.events"),
                   {{"max", &detail->limit_hits}, {"oom_kill", &detail->oom_kills}});
}

void DetailReader::ReadIo(GroupDetail* detail) {
  // Only throttling counts on kernels without the CFQ scheduler, that is since 5.0.
  if (group_->V1("blkio"))
    detail->devices = ParseBlkio(Text("blkio", "blkio.throttle.io_service_bytes_recursive"),
                                 Text("blkio", "blkio.throttle.io_serviced_recursive"));
  else
    detail->devices = ParseIoStat(Text("io", "io.stat"));
}

}  // namespace gantry::cri
