// The group and its often-read files; the rest is in cgroup_detail.cc.
#include "cri/metrics/cgroup_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "runtime/linux/file.h"

namespace gantry::cri {
namespace {

constexpr size_t kFileBytes = 16384;  // memory.stat has 2 kB
constexpr uint64_t kNsPerUs = 1000;

// A file's text from its beginning, which makes the kernel write it anew. The view is of `buffer`.
class OpenText {
 public:
  explicit OpenText(const UniqueFd& fd) {
    if (!fd.valid()) return;
    ssize_t got;
    do {
      got = pread(fd.get(), buffer_, sizeof buffer_, 0);
    } while (got < 0 && errno == EINTR);
    gone_ = got < 0 && errno == ENODEV;
    if (got > 0) size_ = static_cast<size_t>(got);
  }
  [[nodiscard]] absl::string_view text() const { return {buffer_, size_}; }
  [[nodiscard]] bool gone() const { return gone_; }

 private:
  char buffer_[kFileBytes];
  size_t size_ = 0;
  bool gone_ = false;
};

std::optional<uint64_t> CountOf(const UniqueFd& fd) { return ParseCount(OpenText(fd).text()); }

UniqueFd OpenFile(int directory, const char* name) {
  return directory < 0 ? UniqueFd() : UniqueFd(openat(directory, name, O_RDONLY | O_CLOEXEC));
}

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
  files_[kCpu] = V1("cpuacct") ? OpenFile(DirectoryOf("cpuacct"), "cpuacct.usage")
                               : OpenFile(unified, "cpu.stat");
  const bool v1 = V1("memory");
  files_[kMemory] = OpenFile(memory, v1 ? "memory.usage_in_bytes" : "memory.current");
  files_[kMemoryStat] = OpenFile(memory, "memory.stat");
  files_[kMemoryLimit] = OpenFile(memory, v1 ? "memory.limit_in_bytes" : "memory.max");
  if (!v1) files_[kSwap] = OpenFile(memory, "memory.swap.current");
  files_[kSwapLimit] = OpenFile(memory, v1 ? "memory.memsw.limit_in_bytes" : "memory.swap.max");
  files_[kCpuPressure] = OpenFile(unified, "cpu.pressure");
  files_[kMemoryPressure] = OpenFile(unified, "memory.pressure");
  files_[kIoPressure] = OpenFile(unified, "io.pressure");
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
  memory->swap_limit = CountOf(files_[kSwapLimit]);
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

int CgroupReader::descriptors() const {
  const auto open = std::count_if(files_.begin(), files_.end(),
                                  [](const UniqueFd& file) { return file.valid(); });
  return static_cast<int>(open) + static_cast<int>(directories_.size());
}

}  // namespace gantry::cri
