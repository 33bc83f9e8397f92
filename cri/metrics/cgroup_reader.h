// What a control group uses, read through descriptors that are opened once: a read through an open
// file costs 1 to 2 µs, one by its path 9 (measured), and a group that was removed and made again
// under the same name is not taken for the one that was opened.
//
// Each value is read where its controller is: cgroup v1 or v2. Pressure is on the v2 tree of hybrid
// hosts too. A value that this kernel does not tell is unset.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cri/metrics/cgroup_text.h"
#include "runtime/base/status.h"
#include "runtime/linux/cgroup.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::cri {

struct MemoryUse {
  std::optional<uint64_t> usage, inactive_file, rss, cache, mapped_file;
  std::optional<uint64_t> page_faults, major_page_faults;
  std::optional<uint64_t> limit;             // kNoLimit: none
  std::optional<uint64_t> swap, swap_limit;  // of swap alone; kNoLimit: none
  std::optional<uint64_t> kernel;            // on v1 only in GroupDetail
  // Usage less the file pages that go first: what an out-of-memory killer would see.
  [[nodiscard]] std::optional<uint64_t> WorkingSet() const;
  // Limit less working set; unset when there is no limit.
  [[nodiscard]] std::optional<uint64_t> Available() const;
};

// What lists of statistics need.
struct GroupUse {
  int64_t read_at_ns = 0;  // wall clock
  std::optional<uint64_t> cpu_ns;
  std::optional<uint64_t> cpu_user_ns, cpu_system_ns;  // on v1 only in GroupDetail
  MemoryUse memory;
  std::optional<Pressure> cpu_pressure, memory_pressure, io_pressure;
};

struct HugePages {
  std::string size;  // as the kernel names it: "2MB"
  uint64_t usage = 0;
  std::optional<uint64_t> max_usage;
};

// What only metrics need: more files, opened for each reading.
struct GroupDetail {
  std::optional<uint64_t> cpu_user_ns, cpu_system_ns;  // v1
  std::optional<uint64_t> periods, throttled_periods, throttled_ns;
  std::optional<uint64_t> cpu_shares;           // v2: made of the weight
  std::optional<uint64_t> period_us, quota_us;  // quota: kNoLimit when there is none
  std::optional<uint64_t> max_memory, limit_hits, kernel_memory, reserved_memory, oom_kills;
  std::optional<uint64_t> swap_limit;  // as the version has it: on v1 memory and swap together
  std::optional<uint64_t> threads, max_threads;  // kNoLimit: any number
  std::vector<DeviceIo> devices;
  std::vector<HugePages> huge_pages;
};

class CgroupReader {
 public:
  // kNotFound: there is no such group (any more).
  static StatusOr<std::unique_ptr<CgroupReader>> Open(const CgroupPaths& paths);

  // Of no use by itself: see Open.
  explicit CgroupReader(CgroupPaths paths) : paths_(std::move(paths)) {}

  // kNotFound: the group has been removed.
  [[nodiscard]] StatusOr<GroupUse> Use() const;
  [[nodiscard]] GroupDetail Detail() const;
  // How many it holds.
  [[nodiscard]] int descriptors() const;

 private:
  enum File {
    kCpu,
    kMemory,
    kMemoryStat,
    kMemoryLimit,
    kSwap,
    kSwapLimit,
    kCpuPressure,
    kMemoryPressure,
    kIoPressure,
    kFileCount
  };
  struct Directory {
    std::string path;
    UniqueFd fd;
  };

  void OpenFiles();
  // The directory with the controller's files; -1: there is none.
  [[nodiscard]] int DirectoryOf(absl::string_view controller) const;
  [[nodiscard]] bool V1(absl::string_view controller) const { return paths_.IsV1(controller); }
  // A file that is opened for this reading; empty: it is not there.
  [[nodiscard]] std::string Text(absl::string_view controller, const std::string& file) const;
  [[nodiscard]] std::optional<uint64_t> Count(absl::string_view controller,
                                              const std::string& file) const;

  void ReadMemory(MemoryUse* memory) const;
  void ReadCpuDetail(GroupDetail* detail) const;
  void ReadMemoryDetail(GroupDetail* detail) const;
  void ReadIoDetail(GroupDetail* detail) const;

  const CgroupPaths paths_;
  std::vector<Directory> directories_;  // one for each hierarchy that is read
  std::array<UniqueFd, kFileCount> files_;
};

}  // namespace gantry::cri
