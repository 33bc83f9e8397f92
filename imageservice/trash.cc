#include "imageservice/trash.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

#include "runtime/base/log.h"
#include "runtime/linux/file.h"

namespace gantry::images {

StatusOr<std::unique_ptr<Trash>> Trash::Open(const std::string& directory,
                                             DiskUsageCounter* counter) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenAt(AT_FDCWD, directory, O_RDONLY | O_DIRECTORY));
  return std::unique_ptr<Trash>(new Trash(std::move(fd), counter));
}

Trash::Trash(UniqueFd directory, DiskUsageCounter* counter)
    : directory_(std::move(directory)), counter_(counter), thread_([this] { Run(); }) {}

Trash::~Trash() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  thread_.join();
}

Status Trash::Throw(const std::string& path, const TreeUsage& usage) {
  std::string name;
  // A process before us with our pid may have left such a name.
  do {
    name = absl::StrCat("trash-", getpid(), "-", next_.fetch_add(1));
    errno = 0;
  } while (renameat2(AT_FDCWD, path.c_str(), directory_.get(), name.c_str(), RENAME_NOREPLACE) !=
               0 &&
           errno == EEXIST);
  if (errno == ENOENT) {
    counter_->Subtract(usage);
    return absl::OkStatus();
  }
  if (errno != 0) return SyscallError("rename", path);
  absl::MutexLock lock(&mutex_);
  queue_.push_back({name, usage});
  return absl::OkStatus();
}

void Trash::Flush() {
  absl::MutexLock lock(&mutex_);
  auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return queue_.empty() && !busy_; };
  mutex_.Await(absl::Condition(&idle));
}

void Trash::Run() {
  prctl(PR_SET_NAME, "gantry:trash");
  absl::MutexLock lock(&mutex_);
  auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || !queue_.empty(); };
  while (true) {
    mutex_.Await(absl::Condition(&ready));
    if (stop_) return;
    const Item item = std::move(queue_.front());
    queue_.pop_front();
    busy_ = true;
    mutex_.Unlock();
    // The rename before the unlinks also on disk, lest a crash shows a half-deleted tree under its
    // old name.
    (void)fsync(directory_.get());
    const Status status = RemoveTree(directory_.get(), item.name);
    if (status.ok()) {
      counter_->Subtract(item.usage);
    } else {
      Log(LogLevel::kWarning, "cannot delete a tree, trying again at the next start",
          {{"tree", item.name}, {"reason", std::string(status.message())}});
    }
    mutex_.Lock();
    busy_ = false;
  }
}

}  // namespace gantry::images
