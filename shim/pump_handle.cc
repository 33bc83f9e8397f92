#include "shim/pump_handle.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "absl/strings/str_cat.h"

#include "runtime/base/log.h"
#include "runtime/linux/process.h"
#include "runtime/linux/unix_socket.h"

namespace gantry::shim {

uint32_t PumpHandle::Open(Source source, Done opened) {
  const uint32_t id = ++last_log_;
  logs_[id].source = std::move(source);
  Wait(id, PumpVerb::kOpen, std::move(opened));
  Start();
  Queue({PumpVerb::kOpen, id});
  return id;
}

void PumpHandle::Attach(uint32_t log, UniqueFd out, UniqueFd err) {
  Queue({PumpVerb::kAttach, log, std::move(out), std::move(err)});
}

void PumpHandle::Reopen(uint32_t log, Done reopened) {
  auto it = logs_.find(log);
  if (it == logs_.end()) {
    Fail(std::move(reopened), absl::NotFoundError("the log is closed"));
    return;
  }
  if (it->second.waiting.contains(PumpVerb::kReopen)) {
    Fail(std::move(reopened), absl::FailedPreconditionError("the log is being reopened"));
    return;
  }
  Wait(log, PumpVerb::kReopen, std::move(reopened));
  Queue({PumpVerb::kReopen, log});
}

void PumpHandle::Finish(uint32_t log, Done finished) {
  if (!logs_.contains(log)) {
    Fail(std::move(finished), absl::NotFoundError("the log is closed"));
    return;
  }
  Wait(log, PumpVerb::kFinish, std::move(finished));
  Queue({PumpVerb::kFinish, log});
}

void PumpHandle::Abandon(uint32_t log, Done finished) {
  if (const auto it = logs_.find(log); it != logs_.end()) it->second.abandoned = true;
  Finish(log, std::move(finished));
}

void PumpHandle::Stop(std::function<void()> stopped) {
  if (!child_.active()) {
    stopped();
    return;
  }
  stopped_ = std::move(stopped);
  stop_bound_ = loop_->After(absl::Seconds(1), [this] { OnExit(); });
  control_watch_.Reset();
  control_.Reset();  // the pump takes it as the end
}

void PumpHandle::Fail(Done done, const Status& status) {
  const uint64_t id = ++last_failing_;
  failing_[id] = loop_->After(absl::ZeroDuration(), [this, id, done = std::move(done), status] {
    failing_.erase(id);
    done(status);
  });
}

void PumpHandle::Wait(uint32_t log, PumpVerb verb, Done done) {
  Waiting& waiting = logs_[log].waiting[verb];
  waiting.done = std::move(done);
  waiting.bound = loop_->After(kPumpBound, [this, log, verb] {
    Answer(log, verb,
           absl::UnavailableError(absl::StrCat("the log's disk did not answer within ",
                                               absl::FormatDuration(kPumpBound))));
  });
}

void PumpHandle::Answer(uint32_t log, PumpVerb verb, const Status& status) {
  auto it = logs_.find(log);
  if (it == logs_.end()) return;
  auto waiting = it->second.waiting.find(verb);
  if (waiting == it->second.waiting.end()) return;
  const Done done = std::move(waiting->second.done);
  it->second.waiting.erase(waiting);
  // Whatever came of it, a finished log is forgotten: what the pump still holds is its own.
  if (verb == PumpVerb::kFinish) logs_.erase(it);
  done(status);
}

void PumpHandle::Queue(Command command) {
  queue_.push_back(std::move(command));
  Flush();
}

Status PumpHandle::SendCommand(const Command& command) {
  PumpMessage message{.verb = command.verb, .log = command.log, .text = {}};
  std::vector<int> fds;
  auto it = logs_.find(command.log);
  if (command.verb == PumpVerb::kOpen) {
    if (it == logs_.end()) return absl::OkStatus();
    const Source& source = it->second.source;
    message.text = source.path;
    message.interactive = source.interactive;
    if (source.out.valid()) fds.push_back(source.out.get());
    if (source.err.valid()) fds.push_back(source.err.get());
  }
  message.abandoned = it != logs_.end() && it->second.abandoned;
  if (command.out.valid()) {
    message.text += 'o';
    fds.push_back(command.out.get());
  }
  if (command.err.valid()) {
    message.text += 'e';
    fds.push_back(command.err.get());
  }
  return SendPumpMessage(control_.get(), message, fds);
}

void PumpHandle::Flush() {
  while (control_.valid() && !queue_.empty()) {
    const Status sent = SendCommand(queue_.front());
    if (ErrnoOf(sent) == EAGAIN) {
      control_watch_.SetEvents(EPOLLIN | EPOLLOUT);
      return;
    }
    if (!sent.ok()) return;  // the pump is dying; its end starts a new one, which gets all again
    queue_.pop_front();
  }
  if (control_.valid()) control_watch_.SetEvents(EPOLLIN);
}

void PumpHandle::OnControl(uint32_t events) {
  if ((events & EPOLLOUT) != 0) Flush();
  if ((events & (EPOLLIN | EPOLLHUP)) == 0) return;
  auto received = ReceivePumpMessage(control_.get());
  if (!received.ok()) {
    control_watch_.Reset();  // what follows is told by its exit
    return;
  }
  if (received->has_value()) OnAnswer((*received)->message);
}

void PumpHandle::OnAnswer(const PumpMessage& answer) {
  failures_ = 0;
  if (answer.dropped_bytes > 0) {
    gantry::Log(LogLevel::kWarning, "log bytes dropped",
                {{"bytes", absl::StrCat(answer.dropped_bytes)}});
  }
  Status status;
  if (!answer.text.empty()) status = absl::InternalError(answer.text);
  if (status.ok() && answer.dropped_bytes > 0) status = absl::DataLossError("log bytes dropped");
  Answer(answer.log, answer.verb, status);
}

Status PumpHandle::Spawn() {
  ASSIGN_OR_RETURN(auto ends, SocketPair(SOCK_SEQPACKET | SOCK_NONBLOCK));
  ASSIGN_OR_RETURN(ClonedProcess child, Clone({}));
  if (child.pid == 0) {
    run_child_(std::move(ends.second));
    _exit(1);
  }
  control_ = std::move(ends.first);
  child_ = reaper_->Watch(child.pid, [this](ExitStatus) { OnExit(); });
  journal_->Process("pump", child.pid);
  ASSIGN_OR_RETURN(control_watch_, loop_->Add(control_.get(), EPOLLIN,
                                              [this](uint32_t events) { OnControl(events); }));
  return absl::OkStatus();
}

void PumpHandle::Start() {
  if (child_.active()) return;
  if (const Status status = Spawn(); !status.ok()) {
    gantry::Log(LogLevel::kError, "cannot start the pump",
                {{"error", std::string(status.message())}});
    if (!child_.active()) OnExit();
  }
}

void PumpHandle::OnExit() {
  child_.Reset();
  control_watch_.Reset();
  control_.Reset();
  queue_.clear();
  stop_bound_.Reset();
  if (const auto stopped = std::exchange(stopped_, nullptr)) {
    stopped();
    return;
  }
  if (logs_.empty()) return;
  // The first time at once: the workload fills its pipe meanwhile.
  const absl::Duration delay =
      failures_ == 0
          ? absl::ZeroDuration()
          : std::min(absl::Milliseconds(100) * (1 << std::min(failures_, 10)), absl::Seconds(10));
  ++failures_;
  gantry::Log(LogLevel::kWarning, "the pump has died, starting a new one");
  restart_ = loop_->After(delay, [this] {
    Start();
    for (const auto& [id, log] : logs_) {
      queue_.push_back({PumpVerb::kOpen, id});
      if (log.waiting.contains(PumpVerb::kReopen)) queue_.push_back({PumpVerb::kReopen, id});
      if (log.waiting.contains(PumpVerb::kFinish)) queue_.push_back({PumpVerb::kFinish, id});
    }
    Flush();
  });
}

}  // namespace gantry::shim
