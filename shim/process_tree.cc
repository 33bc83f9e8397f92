#include "shim/process_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>

#include <map>
#include <memory>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "runtime/linux/directory_stream.h"
#include "runtime/linux/file.h"

namespace gantry::shim {
namespace {

constexpr int kMaxRounds = 10;

// -1: gone.
pid_t ParentOf(pid_t pid) {
  const auto text = ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", pid, "/stat"));
  if (!text.ok()) return -1;
  // Behind the name: " S PPID …"; the name itself may hold anything.
  const size_t name_end = text->rfind(')');
  if (name_end == std::string::npos) return -1;
  const std::vector<std::string> fields =
      absl::StrSplit(text->substr(name_end + 1), ' ', absl::SkipEmpty());
  pid_t parent = -1;
  return fields.size() > 1 && absl::SimpleAtoi(fields[1], &parent) ? parent : -1;
}

std::multimap<pid_t, pid_t> ChildrenByParent() {
  std::multimap<pid_t, pid_t> children;
  const DirectoryStream proc(opendir("/proc"));
  if (proc == nullptr) return children;
  while (const dirent* entry = readdir(proc.get())) {
    pid_t pid = 0;
    if (absl::SimpleAtoi(entry->d_name, &pid)) children.emplace(ParentOf(pid), pid);
  }
  return children;
}

}  // namespace

std::vector<pid_t> Descendants(pid_t root) {
  const std::multimap<pid_t, pid_t> children = ChildrenByParent();
  std::vector<pid_t> found;
  std::vector<pid_t> open = {root};
  while (!open.empty()) {
    const pid_t parent = open.back();
    open.pop_back();
    const auto [begin, end] = children.equal_range(parent);
    for (auto it = begin; it != end; ++it) {
      found.push_back(it->second);
      open.push_back(it->second);
    }
  }
  return found;
}

void KillTree(pid_t root) {
  // Stopped, it neither forks nor waits for those whom we kill.
  kill(root, SIGSTOP);
  size_t before = 0;
  for (int round = 0; round < kMaxRounds; ++round) {
    const std::vector<pid_t> tree = Descendants(root);
    for (const pid_t pid : tree) kill(pid, SIGKILL);
    // Zombies stay until the root is gone: no more of them means that nobody forks.
    if (tree.size() == before) break;
    before = tree.size();
  }
  kill(root, SIGKILL);
}

}  // namespace gantry::shim
