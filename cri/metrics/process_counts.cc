#include "cri/metrics/process_counts.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "runtime/linux/directory_stream.h"

namespace gantry::cri {
namespace {

// Each costs a readlink of 1 µs: 4 ms for a container at most.
constexpr uint64_t kMaxDescriptors = 4096;

// Adds what /proc/PID/fd shows. False: there is too much of it.
bool AddOpenFiles(pid_t pid, uint64_t* descriptors, uint64_t* sockets) {
  const std::string path = absl::StrCat("/proc/", pid, "/fd");
  const DirectoryStream stream(opendir(path.c_str()));
  if (stream == nullptr) return true;  // it has ended
  while (const dirent* entry = readdir(stream.get())) {
    if (entry->d_name[0] == '.') continue;
    if (++*descriptors > kMaxDescriptors) return false;
    char target[16];
    const ssize_t length = readlinkat(dirfd(stream.get()), entry->d_name, target, sizeof target);
    if (length > 0 &&
        absl::StartsWith(absl::string_view(target, static_cast<size_t>(length)), "socket:"))
      ++*sockets;
  }
  return true;
}

}  // namespace

ProcessCounts CountProcesses(const std::vector<pid_t>& processes) {
  ProcessCounts counts;
  counts.processes = processes.size();
  uint64_t descriptors = 0, sockets = 0;
  for (const pid_t pid : processes)
    if (!AddOpenFiles(pid, &descriptors, &sockets)) return counts;
  counts.descriptors = descriptors;
  counts.sockets = sockets;
  return counts;
}

std::optional<uint64_t> OpenFileLimit(pid_t pid) {
  rlimit limit;
  if (pid <= 0 || prlimit(pid, RLIMIT_NOFILE, nullptr, &limit) != 0) return std::nullopt;
  return limit.rlim_cur;
}

}  // namespace gantry::cri
