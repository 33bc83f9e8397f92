#include "shim/reaper.h"

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include <csignal>
#include <vector>

namespace gantry::shim {

Reaper::OrphanHold& Reaper::OrphanHold::operator=(OrphanHold&& other) noexcept {
  if (this == &other) return *this;
  Reset();
  reaper_ = std::exchange(other.reaper_, nullptr);
  return *this;
}

void Reaper::OrphanHold::Reset() {
  Reaper* reaper = std::exchange(reaper_, nullptr);
  if (reaper == nullptr || --reaper->holds_ > 0) return;
  reaper->again_ = reaper->loop_->After(absl::ZeroDuration(), [reaper] { reaper->Reap(); });
}

Reaper::Child& Reaper::Child::operator=(Child&& other) noexcept {
  if (this == &other) return *this;
  Reset();
  reaper_ = std::exchange(other.reaper_, nullptr);
  pid_ = other.pid_;
  number_ = other.number_;
  return *this;
}

void Reaper::Child::Reset() {
  Reaper* reaper = std::exchange(reaper_, nullptr);
  if (reaper == nullptr) return;
  const auto it = reaper->children_.find(pid_);
  if (it != reaper->children_.end() && it->second.number == number_) reaper->children_.erase(it);
}

StatusOr<std::unique_ptr<Reaper>> Reaper::Create(EventLoop* loop) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  UniqueFd signals(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals.valid()) return SyscallError("signalfd");
  auto reaper = std::make_unique<Reaper>(loop, std::move(signals));
  ASSIGN_OR_RETURN(reaper->watch_, loop->Add(reaper->signals_.get(), EPOLLIN,
                                             [raw = reaper.get()](uint32_t) { raw->OnSignal(); }));
  return reaper;
}

Reaper::Child Reaper::Watch(pid_t pid, ExitCallback callback) {
  children_[pid] = {++last_number_, std::move(callback)};
  // Its end may have been signalled before, under a hold.
  again_ = loop_->After(absl::ZeroDuration(), [this] { Reap(); });
  Child child;
  child.reaper_ = this;
  child.pid_ = pid;
  child.number_ = last_number_;
  return child;
}

Reaper::OrphanHold Reaper::HoldOrphans() {
  ++holds_;
  OrphanHold hold;
  hold.reaper_ = this;
  return hold;
}

void Reaper::OnSignal() {
  signalfd_siginfo info[4];
  while (read(signals_.get(), info, sizeof(info)) > 0) {
  }
  Reap();
}

bool Reaper::ReapOne(int id_type, pid_t pid) {
  siginfo_t info{};
  if (waitid(static_cast<idtype_t>(id_type), static_cast<id_t>(pid), &info,
             WEXITED | WNOHANG | __WALL) != 0 ||
      info.si_pid == 0) {
    return false;
  }
  auto it = children_.find(info.si_pid);
  if (it == children_.end()) return true;
  // Out of the table first: the callback may watch or forget others.
  const ExitCallback callback = std::move(it->second.callback);
  children_.erase(it);
  callback({.signaled = info.si_code != CLD_EXITED, .value = info.si_status});
  return true;
}

void Reaper::Reap() {
  while (holds_ == 0 && ReapOne(P_ALL, 0)) {
  }
  if (holds_ == 0) return;
  std::vector<pid_t> pids;
  for (const auto& [pid, watched] : children_) pids.push_back(pid);
  for (const pid_t pid : pids) ReapOne(P_PID, pid);
}

}  // namespace gantry::shim
