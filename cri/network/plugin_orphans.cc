#include "cri/network/plugin_orphans.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/types.h>

#include <memory>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "runtime/linux/directory_stream.h"
#include "runtime/linux/file.h"
#include "runtime/linux/pidfd.h"

namespace gantry::cri {
namespace {

constexpr int kRounds = 5;  // a process may start another one while we look

std::vector<pid_t> Processes() {
  std::vector<pid_t> pids;
  const DirectoryStream dir(opendir("/proc"));
  if (dir == nullptr) return pids;
  for (dirent* entry = readdir(dir.get()); entry != nullptr; entry = readdir(dir.get())) {
    int pid = 0;
    if (absl::SimpleAtoi(entry->d_name, &pid) && pid > 1) pids.push_back(pid);
  }
  return pids;
}

// The environment that it was started with: proc(5), /proc/PID/environ.
bool IsPluginOf(pid_t pid, const std::set<std::string>& pod_ids) {
  const auto text = ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", pid, "/environ"), 4 << 20);
  if (!text.ok()) return false;
  bool command = false;
  bool pod = false;
  for (absl::string_view variable : absl::StrSplit(*text, '\0')) {
    command = command || absl::ConsumePrefix(&variable, "CNI_COMMAND=");
    if (absl::ConsumePrefix(&variable, "CNI_CONTAINERID="))
      pod = pod || pod_ids.count(std::string(variable)) > 0;
  }
  return command && pod;
}

bool End(pid_t pid, const std::set<std::string>& pod_ids) {
  const auto pidfd = OpenPidFd(pid);
  // Asked again with the descriptor in hand: the number cannot have become another's since.
  return pidfd.ok() && IsPluginOf(pid, pod_ids) && SignalPidFd(pidfd->get(), SIGKILL).ok();
}

}  // namespace

int EndPluginsOf(const std::set<std::string>& pod_ids) {
  int ended = 0;
  for (int round = 0, found = 1; round < kRounds && found > 0 && !pod_ids.empty(); ++round) {
    found = 0;
    for (const pid_t pid : Processes())
      if (IsPluginOf(pid, pod_ids) && End(pid, pod_ids)) ++found;
    ended += found;
  }
  return ended;
}

}  // namespace gantry::cri
