#include "cri/network/directory_watch.h"

#include <dirent.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

#include "runtime/base/deadline.h"
#include "runtime/linux/directory_stream.h"

namespace gantry::cri {
namespace {

constexpr uint32_t kEntries = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE;
constexpr uint32_t kContents =
    kEntries | IN_CLOSE_WRITE | IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;
constexpr absl::Duration kUnwakeable = absl::Milliseconds(100);
constexpr size_t kMaxFolders = 16;  // in the watched one

std::vector<std::string> FoldersIn(const std::string& path) {
  std::vector<std::string> folders;
  const DirectoryStream dir(opendir(path.c_str()));
  if (dir == nullptr) return folders;
  for (dirent* entry = readdir(dir.get()); entry != nullptr; entry = readdir(dir.get())) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.' && folders.size() < kMaxFolders)
      folders.push_back(absl::StrCat(path, "/", entry->d_name));
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

}  // namespace

DirectoryWatch::DirectoryWatch(std::string path, Timing timing, std::function<void()> changed)
    : path_(std::move(path)),
      timing_(timing),
      changed_(std::move(changed)),
      ending_(eventfd(0, EFD_CLOEXEC)) {
  Arm();  // before the owner reads the folder: nothing falls between
  thread_ = std::thread([this] { Run(); });
}

DirectoryWatch::~DirectoryWatch() {
  ended_ = true;
  (void)eventfd_write(ending_.get(), 1);
  thread_.join();
}

void DirectoryWatch::Run() {
  while (true) {
    const int events = Poll(timing_.period);
    if (events < 0) return;
    if (events > 0 && !ReadEvents()) continue;
    if (events > 0 && !WaitUntilQuiet()) return;
    Arm();
    changed_();
  }
}

// The folder first, then what is in it, then the way down to it.
std::vector<DirectoryWatch::Watched> DirectoryWatch::Plan() const {
  std::vector<Watched> plan = {{path_, ""}};
  for (const std::string& folder : FoldersIn(path_)) plan.push_back({folder, ""});
  for (size_t slash = path_.rfind('/'); slash != std::string::npos && slash + 1 < path_.size();) {
    const std::string parent = slash == 0 ? "/" : path_.substr(0, slash);
    const std::string rest = path_.substr(slash + 1);
    plan.push_back({parent, rest.substr(0, rest.find('/'))});
    if (slash == 0) break;
    slash = path_.rfind('/', slash - 1);
  }
  for (Watched& one : plan) {
    struct stat info = {};
    if (stat(one.folder.c_str(), &info) == 0) one.inode = info.st_ino;
  }
  return plan;
}

// Only when there is something new to watch: to end an instance waits for a grace period.
void DirectoryWatch::Arm() {
  std::vector<Watched> plan = Plan();
  const bool same = plan.size() == watched_.size() &&
                    std::equal(plan.begin(), plan.end(), watched_.begin(),
                               [](const Watched& a, const Watched& b) {
                                 return a.folder == b.folder && a.inode == b.inode;
                               });
  if (same && inotify_.valid()) return;
  inotify_.Reset(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!inotify_.valid()) return;
  for (Watched& one : plan) {
    one.descriptor = inotify_add_watch(inotify_.get(), one.folder.c_str(),
                                       (one.child.empty() ? kContents : kEntries) | IN_ONLYDIR);
  }
  watched_ = std::move(plan);
}

bool DirectoryWatch::ReadEvents() {
  alignas(inotify_event) char buffer[16 << 10];
  bool matters = false;
  while (true) {
    const ssize_t n = read(inotify_.get(), buffer, sizeof buffer);
    if (n <= 0) return matters;
    for (ssize_t at = 0; at < n;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      const std::string name = event->len > 0 ? event->name : "";
      matters = matters || (event->mask & IN_Q_OVERFLOW) != 0 ||
                std::any_of(watched_.begin(), watched_.end(), [&](const Watched& one) {
                  return one.descriptor == event->wd && (one.child.empty() || one.child == name);
                });
    }
  }
}

bool DirectoryWatch::WaitUntilQuiet() {
  const Deadline bound = Deadline::After(10 * timing_.quiet);
  while (!bound.Passed()) {
    const int events = Poll(timing_.quiet);
    if (events < 0) return false;
    if (events == 0) return true;
    if (!ReadEvents()) return true;  // only a neighbour of the folder is busy
  }
  return true;
}

int DirectoryWatch::Poll(absl::Duration patience) {
  pollfd fds[] = {{ending_.get(), POLLIN, 0}, {inotify_.get(), POLLIN, 0}};
  // Out of descriptors at the start: nobody can wake us.
  if (!ending_.valid()) patience = std::min(patience, kUnwakeable);
  (void)poll(fds, 2, static_cast<int>(absl::ToInt64Milliseconds(patience)));
  if (ended_) return -1;
  return fds[1].revents != 0 ? 1 : 0;
}

}  // namespace gantry::cri
