#include "shim/oom_watch.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "runtime/linux/cgroup.h"
#include "runtime/linux/file.h"

namespace gantry::shim {

StatusOr<std::unique_ptr<OomWatch>> OomWatch::Create(EventLoop* loop, const std::string& oom_file,
                                                     std::function<void()> on_oom) {
  auto watch = std::make_unique<OomWatch>(loop, oom_file, std::move(on_oom));
  ASSIGN_OR_RETURN(watch->baseline_, OomKillCount(oom_file));
  watch->last_ = watch->baseline_;
  const std::string directory = oom_file.substr(0, oom_file.rfind('/'));
  const bool v1 = absl::EndsWith(oom_file, "/memory.oom_control");
  // Without events the counter still tells at the container's end.
  (v1 ? watch->WatchV1(directory) : watch->WatchV2()).IgnoreError();
  return watch;
}

Status OomWatch::WatchV1(const std::string& directory) {
  event_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event_.valid()) return SyscallError("eventfd");
  ASSIGN_OR_RETURN(UniqueFd control, OpenAt(AT_FDCWD, oom_file_, O_RDONLY));
  RETURN_IF_ERROR(WriteFileAt(AT_FDCWD, absl::StrCat(directory, "/cgroup.event_control"),
                              absl::StrCat(event_.get(), " ", control.get())));
  ASSIGN_OR_RETURN(watch_, loop_->Add(event_.get(), EPOLLIN, [this](uint32_t) { OnEvent(); }));
  return absl::OkStatus();
}

Status OomWatch::WatchV2() {
  ASSIGN_OR_RETURN(file_, OpenAt(AT_FDCWD, oom_file_, O_RDONLY));
  RETURN_IF_ERROR(ReadAll(file_.get(), oom_file_).status());  // arms the notification
  ASSIGN_OR_RETURN(watch_, loop_->Add(file_.get(), EPOLLPRI, [this](uint32_t) { OnEvent(); }));
  return absl::OkStatus();
}

void OomWatch::OnEvent() {
  if (event_.valid()) {
    uint64_t count = 0;
    if (read(event_.get(), &count, sizeof(count)) < 0) return;
  } else if (lseek(file_.get(), 0, SEEK_SET) != 0 || !ReadAll(file_.get(), oom_file_).ok()) {
    watch_.Reset();  // the cgroup is gone
    return;
  }
  Check();
  // v1 tells before the victim is chosen and counted.
  later_ = loop_->After(absl::Milliseconds(100), [this] { Check(); });
}

void OomWatch::Check() {
  const StatusOr<uint64_t> count = OomKillCount(oom_file_);
  if (!count.ok() || *count <= last_) return;
  last_ = *count;
  const std::function<void()> on_oom = on_oom_;
  on_oom();
}

bool OomWatch::HasRisen() {
  const StatusOr<uint64_t> count = OomKillCount(oom_file_);
  return (count.ok() ? *count : last_) > baseline_;
}

}  // namespace gantry::shim
