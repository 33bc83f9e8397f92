// What a control group uses, read through descriptors that are opened once: a read through an open
// file costs 1 to 2 µs, one by its path 9 (measured), and a group that was removed and made again
// under the same name is not taken for the one that was opened.
//
// Each value is read where its controller is: cgroup v1 or v2. Pressure is on the v2 tree of hybrid
// hosts too. A value that this kernel does not tell is unset.
#pragma once

#include <sys/types.h>

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
  std::optional<uint64_t> raw_swap_limit;    // as the version has it: v1 limits memory and swap
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

class CgroupReader {
 public:
  // kNotFound: there is no such group (any more).
  static StatusOr<std::unique_ptr<CgroupReader>> Open(const CgroupPaths& paths);

  // Of no use by itself: see Open.
  explicit CgroupReader(CgroupPaths paths) : paths_(std::move(paths)) {}

  // kNotFound: the group has been removed.
  [[nodiscard]] StatusOr<GroupUse> Use() const;
  // Of the group and the groups below it (execs). Empty when it is gone.
  [[nodiscard]] StatusOr<std::vector<pid_t>> Processes() const;
  // How many it holds.
  [[nodiscard]] int descriptors() const;
  // The directory with the controller's files; -1: there is none. "": the v2 one.
  [[nodiscard]] int DirectoryOf(absl::string_view controller) const;
  [[nodiscard]] bool V1(absl::string_view controller) const { return paths_.IsV1(controller); }

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
    kProcesses,
    kFileCount
  };
  struct Directory {
    std::string path;
    UniqueFd fd;
  };

  void OpenFiles();
  void ReadMemory(MemoryUse* memory) const;

  const CgroupPaths paths_;
  std::vector<Directory> directories_;  // one for each hierarchy that is read
  std::array<UniqueFd, kFileCount> files_;
  int process_directory_ = -1;  // one of directories_: of the hierarchy whose processes are read
};

}  // namespace gantry::cri
