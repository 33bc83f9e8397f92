// What only metrics need of a control group: limits in force, throttling, block I/O, threads, huge
// pages. Its files are opened at the first reading and stay open: 18 on v1, which is two thirds of
// what reading them would cost (measured: 6 us to open and close one of them, 2 to read it). Each
// holds a page of the kernel's memory.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "cri/metrics/cgroup_reader.h"

namespace gantry::cri {

struct HugePages {
  std::string size;  // as the kernel names it: "2MB"
  uint64_t usage = 0;
  std::optional<uint64_t> max_usage;
};

struct GroupDetail {
  std::optional<uint64_t> cpu_user_ns, cpu_system_ns;  // v1
  std::optional<uint64_t> periods, throttled_periods, throttled_ns;
  std::optional<uint64_t> cpu_shares;           // v2: made of the weight
  std::optional<uint64_t> period_us, quota_us;  // quota: kNoLimit when there is none
  std::optional<uint64_t> max_memory, limit_hits, kernel_memory, reserved_memory, oom_kills;
  std::optional<uint64_t> threads, max_threads;  // kNoLimit: any number
  std::vector<DeviceIo> devices;
  std::vector<HugePages> huge_pages;
};

// Any thread.
class DetailReader {
 public:
  explicit DetailReader(std::shared_ptr<const CgroupReader> group) : group_(std::move(group)) {}
  // Everything unset when the group is gone.
  GroupDetail Read() ABSL_LOCKS_EXCLUDED(mutex_);
  // How many it opens at most.
  static int MostDescriptors();

 private:
  // Of a file that is opened when it is first asked for; empty: it is not there.
  std::string Text(absl::string_view controller, const std::string& file)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<uint64_t> Count(absl::string_view controller, const std::string& file)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReadCpu(GroupDetail* detail) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReadMemory(GroupDetail* detail) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReadIo(GroupDetail* detail) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReadHugePages(GroupDetail* detail) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::shared_ptr<const CgroupReader> group_;
  absl::Mutex mutex_;
  // By name; invalid: this kernel has no such file.
  std::map<std::string, UniqueFd> files_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gantry::cri
