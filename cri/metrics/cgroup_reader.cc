#include "cri/metrics/cgroup_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"

#include "cri/metrics/open_text.h"

namespace gantry::cri {
namespace {

constexpr uint64_t kNsPerUs = 1000;

std::optional<uint64_t> CountOf(const UniqueFd& fd) { return ParseCount(OpenText(fd).text()); }

void ScaleToNs(std::optional<uint64_t>* microseconds) {
  if (*microseconds) **microseconds *= kNsPerUs;
}

}  // namespace

std::optional<uint64_t> MemoryUse::WorkingSet() const {
  if (!usage) return std::nullopt;
  return *usage - std::min(*usage, inactive_file.value_or(0));
}

std::optional<uint64_t> MemoryUse::Available() const {
  const auto working_set = WorkingSet();
  if (!working_set || limit.value_or(kNoLimit) == kNoLimit) return std::nullopt;
  return *limit - std::min(*limit, *working_set);
}

StatusOr<std::unique_ptr<CgroupReader>> CgroupReader::Open(const CgroupPaths& paths) {
  auto reader = std::make_unique<CgroupReader>(paths);
  for (const char* controller : {"cpu", "cpuacct", "memory", "pids", "blkio", "hugetlb", ""}) {
    const bool v1 = *controller != '\0' && paths.IsV1(controller);
    const std::string& path = v1 ? paths.DirOf(controller) : paths.unified_dir;
    if (path.empty() || reader->DirectoryOf(controller) >= 0) continue;
    UniqueFd fd(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (fd.valid()) reader->directories_.push_back({path, std::move(fd)});
  }
  if (reader->directories_.empty())
    return absl::NotFoundError(absl::StrCat("cgroup \"", paths.DirOf("memory"), "\" is gone"));
  reader->OpenFiles();
  return reader;
}

void CgroupReader::OpenFiles() {
  const int memory = DirectoryOf("memory"), unified = DirectoryOf("");
  // On v2 cpu.stat tells the time used even where the controller is not enabled.
  files_[kCpu] = V1("cpuacct") ? OpenCgroupFile(DirectoryOf("cpuacct"), "cpuacct.usage")
                               : OpenCgroupFile(unified, "cpu.stat");
  const bool v1 = V1("memory");
  files_[kMemory] = OpenCgroupFile(memory, v1 ? "memory.usage_in_bytes" : "memory.current");
  files_[kMemoryStat] = OpenCgroupFile(memory, "memory.stat");
  files_[kMemoryLimit] = OpenCgroupFile(memory, v1 ? "memory.limit_in_bytes" : "memory.max");
  if (!v1) files_[kSwap] = OpenCgroupFile(memory, "memory.swap.current");
  files_[kSwapLimit] =
      OpenCgroupFile(memory, v1 ? "memory.memsw.limit_in_bytes" : "memory.swap.max");
  files_[kCpuPressure] = OpenCgroupFile(unified, "cpu.pressure");
  files_[kMemoryPressure] = OpenCgroupFile(unified, "memory.pressure");
  files_[kIoPressure] = OpenCgroupFile(unified, "io.pressure");
  process_directory_ = unified >= 0 ? unified : directories_.front().fd.get();
  files_[kProcesses] = OpenCgroupFile(process_directory_, "cgroup.procs");
}

int CgroupReader::DirectoryOf(absl::string_view controller) const {
  const std::string& path =
      !controller.empty() && V1(controller) ? paths_.DirOf(controller) : paths_.unified_dir;
  for (const Directory& directory : directories_)
    if (directory.path == path) return directory.fd.get();
  return -1;
}

StatusOr<GroupUse> CgroupReader::Use() const {
  GroupUse use;
  use.read_at_ns = absl::GetCurrentTimeNanos();
  const OpenText cpu(files_[kCpu]);
  if (cpu.gone())
    return absl::NotFoundError(absl::StrCat("cgroup \"", paths_.DirOf("memory"), "\" is gone"));
  if (V1("cpuacct")) {
    use.cpu_ns = ParseCount(cpu.text());
  } else {
    ParseKeyedCounts(cpu.text(), {{"usage_usec", &use.cpu_ns},
                                  {"user_usec", &use.cpu_user_ns},
                                  {"system_usec", &use.cpu_system_ns}});
    for (auto* time : {&use.cpu_ns, &use.cpu_user_ns, &use.cpu_system_ns}) ScaleToNs(time);
  }
  ReadMemory(&use.memory);
  use.cpu_pressure = ParsePressure(OpenText(files_[kCpuPressure]).text());
  use.memory_pressure = ParsePressure(OpenText(files_[kMemoryPressure]).text());
  use.io_pressure = ParsePressure(OpenText(files_[kIoPressure]).text());
  return use;
}

void CgroupReader::ReadMemory(MemoryUse* memory) const {
  memory->usage = CountOf(files_[kMemory]);
  memory->limit = CountOf(files_[kMemoryLimit]);
  memory->swap_limit = memory->raw_swap_limit = CountOf(files_[kSwapLimit]);
  const OpenText stat(files_[kMemoryStat]);
  if (!V1("memory")) {
    memory->swap = CountOf(files_[kSwap]);
    ParseKeyedCounts(stat.text(), {{"anon", &memory->rss},
                                   {"file", &memory->cache},
                                   {"kernel", &memory->kernel},
                                   {"file_mapped", &memory->mapped_file},
                                   {"inactive_file", &memory->inactive_file},
                                   {"pgfault", &memory->page_faults},
                                   {"pgmajfault", &memory->major_page_faults}});
    return;
  }
  ParseKeyedCounts(stat.text(), {{"total_rss", &memory->rss},
                                 {"total_cache", &memory->cache},
                                 {"total_swap", &memory->swap},
                                 {"total_mapped_file", &memory->mapped_file},
                                 {"total_inactive_file", &memory->inactive_file},
                                 {"total_pgfault", &memory->page_faults},
                                 {"total_pgmajfault", &memory->major_page_faults}});
  // v1 limits memory and swap together.
  if (memory->swap_limit && *memory->swap_limit != kNoLimit && memory->limit)
    *memory->swap_limit -= std::min(*memory->swap_limit, *memory->limit);
}

StatusOr<std::vector<pid_t>> CgroupReader::Processes() const {
  struct stat st;
  // A directory of kernfs has a link for each directory in it: 2 are its own. A threaded group, or
  // one of thousands of processes, is read another way.
  const bool alone = fstat(process_directory_, &st) == 0 && st.st_nlink <= 2;
  const OpenText text(files_[kProcesses]);
  if (text.gone()) return std::vector<pid_t>();
  if (!alone || !files_[kProcesses].valid() || !text.whole()) return CgroupProcesses(paths_);
  std::vector<pid_t> processes;
  for (const absl::string_view line : absl::StrSplit(text.text(), '\n', absl::SkipEmpty())) {
    pid_t pid = 0;
    // 0: a process of a PID namespace that we cannot see.
    if (absl::SimpleAtoi(line, &pid) && pid > 0) processes.push_back(pid);
  }
  return processes;
}

int CgroupReader::descriptors() const {
  const auto open = std::count_if(files_.begin(), files_.end(),
                                  [](const UniqueFd& file) { return file.valid(); });
  return static_cast<int>(open) + static_cast<int>(directories_.size());
}

}  // namespace gantry::cri
