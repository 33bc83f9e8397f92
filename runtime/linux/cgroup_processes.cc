// What runs in a group; cgroup.cc makes and removes the directories.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>
#include <memory>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "runtime/linux/cgroup.h"
#include "runtime/linux/directory_stream.h"
#include "runtime/linux/file.h"

namespace gantry {
namespace {

constexpr size_t kMaxDepth = 64;
constexpr int kMaxKillRounds = 100;
constexpr size_t kMaxProcsBytes = 64 << 20;

Status AppendProcesses(const std::string& dir, size_t depth, std::vector<pid_t>& out) {
  StatusOr<std::string> text = ReadFileAt(AT_FDCWD, dir + "/cgroup.procs", kMaxProcsBytes);
  // A threaded group answers EOPNOTSUPP; its threads' numbers serve the same purposes.
  if (ErrnoOf(text.status()) == EOPNOTSUPP)
    text = ReadFileAt(AT_FDCWD, dir + "/cgroup.threads", kMaxProcsBytes);
  // Gone meanwhile (ENODEV: between open and read).
  if (ErrnoOf(text.status()) == ENOENT || ErrnoOf(text.status()) == ENODEV) return absl::OkStatus();
  RETURN_IF_ERROR(text.status());
  for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    pid_t pid = 0;
    // 0: a process of a PID namespace that we cannot see.
    if (absl::SimpleAtoi(line, &pid) && pid > 0) out.push_back(pid);
  }
  if (depth == kMaxDepth) return absl::OkStatus();
  const DirectoryStream stream(opendir(dir.c_str()));
  if (stream == nullptr) return errno == ENOENT ? absl::OkStatus() : SyscallError("opendir", dir);
  while (const dirent* entry = readdir(stream.get())) {
    if (entry->d_type != DT_DIR || entry->d_name[0] == '.') continue;
    RETURN_IF_ERROR(AppendProcesses(absl::StrCat(dir, "/", entry->d_name), depth + 1, out));
  }
  return absl::OkStatus();
}

// The v1 directory with a freezer; empty: none.
std::string FreezerDir(const CgroupPaths& paths) {
  for (const std::string& dir : paths.V1Hierarchies()) {
    if (access((dir + "/freezer.state").c_str(), F_OK) == 0) return dir;
  }
  return "";
}

Status KillRound(const CgroupPaths& paths, size_t& killed) {
  ASSIGN_OR_RETURN(const std::vector<pid_t> processes, CgroupProcesses(paths));
  killed = processes.size();
  for (const pid_t pid : processes) {
    if (kill(pid, SIGKILL) != 0 && errno != ESRCH) return SyscallError("kill", absl::StrCat(pid));
  }
  return absl::OkStatus();
}

// Without cgroup.kill: frozen processes neither fork nor exit, so that a number read is the process
// meant. FROZEN is only asked for: whoever is in a system call freezes later, hence the rounds.
Status KillOneByOne(const CgroupPaths& paths) {
  const std::string freezer = FreezerDir(paths);
  const auto set_freezer = [&freezer](absl::string_view state) {
    // Best effort: rounds without a freezer end too, unless processes fork faster than we kill.
    if (!freezer.empty()) WriteFileAt(AT_FDCWD, freezer + "/freezer.state", state).IgnoreError();
  };
  size_t killed = 1;
  for (int round = 0; round < kMaxKillRounds && killed > 0; ++round) {
    set_freezer("FROZEN");
    const absl::Cleanup thaw = [&set_freezer] { set_freezer("THAWED"); };
    RETURN_IF_ERROR(KillRound(paths, killed));
    // With a freezer one round has reached everybody.
    if (!freezer.empty() && round > 0) return absl::OkStatus();
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<std::string> UnifiedGroupBelow(const std::string& above, pid_t pid) {
  const std::string file = absl::StrCat("/proc/", pid, "/cgroup");
  ASSIGN_OR_RETURN(const std::string text, ReadFileAt(AT_FDCWD, file));
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::ConsumePrefix(&line, "0::")) continue;
    // The hierarchy's mount ends where the path that both have in common begins.
    for (size_t length = line.size(); length > 1; length = line.rfind('/', length - 1)) {
      const absl::string_view common = line.substr(0, length);
      if (absl::EndsWith(above, common)) return absl::StrCat(above, line.substr(length));
    }
  }
  return absl::NotFoundError(absl::StrCat("process ", pid, " is not in cgroup \"", above, "\""));
}

Status EnterCgroup(const std::string& directory) {
  const std::string v1 = directory + "/tasks";
  const bool is_v1 = access(v1.c_str(), F_OK) == 0;
  return Annotate(WriteFileAt(AT_FDCWD, is_v1 ? v1 : directory + "/cgroup.procs", "0"),
                  "enter cgroup");
}

Status JoinCgroup(const CgroupPaths& paths, pid_t pid) {
  std::vector<std::string> dirs = paths.V1Hierarchies();
  if (!paths.unified_dir.empty()) dirs.push_back(paths.unified_dir);
  for (const std::string& dir : dirs) {
    RETURN_IF_ERROR_CONTEXT(WriteFileAt(AT_FDCWD, dir + "/cgroup.procs", absl::StrCat(pid)),
                            absl::StrCat("move process ", pid));
  }
  return absl::OkStatus();
}

Status KillCgroup(const CgroupPaths& paths) {
  if (!paths.unified_dir.empty()) {
    Status status = WriteFileAt(AT_FDCWD, paths.unified_dir + "/cgroup.kill", "1");
    const int error = ErrnoOf(status);
    if (status.ok() || error == ENODEV) return absl::OkStatus();
    if (error == ENOENT && access(paths.unified_dir.c_str(), F_OK) != 0) return absl::OkStatus();
    // Before Linux 5.14, or a threaded group.
    if (error != ENOENT && error != EOPNOTSUPP) return status;
  }
  return KillOneByOne(paths);
}

StatusOr<std::vector<pid_t>> CgroupProcesses(const CgroupPaths& paths) {
  std::vector<pid_t> processes;
  if (!paths.unified_dir.empty()) {
    RETURN_IF_ERROR(AppendProcesses(paths.unified_dir, 0, processes));
    return processes;
  }
  const std::vector<std::string> dirs = paths.V1Hierarchies();
  if (!dirs.empty()) RETURN_IF_ERROR(AppendProcesses(dirs.front(), 0, processes));
  return processes;
}

StatusOr<uint64_t> OomKillCount(const std::string& oom_file) {
  ASSIGN_OR_RETURN(const std::string text, ReadFileAt(AT_FDCWD, oom_file));
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(line, absl::MaxSplits(' ', 1));
    uint64_t count = 0;
    if (pair.first == "oom_kill" && absl::SimpleAtoi(pair.second, &count)) return count;
  }
  return absl::InternalError(absl::StrCat(oom_file, " has no line oom_kill"));
}

}  // namespace gantry
