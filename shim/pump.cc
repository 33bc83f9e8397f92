#include "shim/pump.h"

#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/clock.h"

#include "runtime/base/log.h"
#include "shim/attached_clients.h"
#include "shim/container_log.h"
#include "shim/event_loop.h"
#include "shim/memory.h"
#include "shim/pump_messages.h"

namespace gantry::shim {
namespace {

constexpr size_t kReadSize = 65536;  // a pipe's default capacity
constexpr size_t kRecordsSize = 2 * kReadSize;
// Output in small pieces that goes on and on is read once in a while: a process that writes line by
// line would have the pump awake for each of them, and both would spend their time in waking each
// other. What is written in a pause at 250 MB/s has room in a pipe.
constexpr absl::Duration kPause = absl::Microseconds(200);
constexpr size_t kSmallPiece = kReadSize / 4;

struct Stream {
  Stream(uint64_t stream_id, UniqueFd source, LineCutter line_cutter)
      : id(stream_id), fd(std::move(source)), cutter(std::move(line_cutter)) {}
  const uint64_t id;  // of its clients
  UniqueFd fd;
  LineCutter cutter;
  absl::Time looked_at;  // when it was last read, or its pause ended
  bool paused = false;
  EventLoop::Watch watch;  // after fd: ends first
  EventLoop::Timer pause;
};

uint64_t StreamId(uint32_t log, size_t index) { return uint64_t{log} * 2 + index; }

struct ContainerLog {
  bool discard = false;      // no path was given
  bool interactive = false;  // clients are waited for
  LogFile file;
  std::array<std::unique_ptr<Stream>, 2> streams;  // stdout, stderr; none once it has ended
};

class Pump {
 public:
  // `memory`: kReadSize + kRecordsSize bytes.
  Pump(EventLoop* loop, UniqueFd control, char* memory)
      : loop_(loop),
        control_(std::move(control)),
        buffer_(memory),
        records_(memory + kReadSize, kRecordsSize),
        clients_(loop, [this](uint64_t stream) { Resume(stream); }) {}
  Status Run();

 private:
  void TakeCommands();
  void OnOutput(uint32_t log_id, size_t index);
  void Handle(ReceivedPumpMessage received);
  Status Open(const PumpMessage& message, std::vector<UniqueFd> fds);
  void Attach(ReceivedPumpMessage received, ContainerLog* log);
  void Resume(uint64_t stream);
  uint64_t Finish(ContainerLog* log);
  // One read; returns its bytes. 0: nothing there now, or the stream has ended.
  size_t ReadSome(ContainerLog* log, std::unique_ptr<Stream>* stream, size_t limit);
  void Pause(Stream* stream);
  void EndPause(ContainerLog* log, size_t index);
  void QuitWhenOrphaned();
  void ReleaseWhenIdle();

  EventLoop* loop_;
  UniqueFd control_;
  EventLoop::Watch control_watch_;
  char* buffer_;
  RecordBuffer records_;  // behind it
  bool used_ = false;     // both, since the last look
  EventLoop::Timer idle_;
  bool idle_armed_ = false;
  bool orphaned_ = false;  // the shim has gone
  AttachedClients clients_;
  uint64_t last_client_ = 0;
  std::map<uint32_t, ContainerLog> logs_;
};

Status Pump::Run() {
  ASSIGN_OR_RETURN(control_watch_,
                   loop_->Add(control_.get(), EPOLLIN, [this](uint32_t) { TakeCommands(); }));
  return loop_->Run();
}

void Pump::TakeCommands() {
  if (orphaned_) return;
  auto received = ReceivePumpMessage(control_.get());
  for (; received.ok() && received->has_value(); received = ReceivePumpMessage(control_.get()))
    Handle(std::move(**received));
  if (received.ok()) return;
  // What the containers still have to say is written all the same.
  orphaned_ = true;
  control_watch_.Reset();
  QuitWhenOrphaned();
}

void Pump::Handle(ReceivedPumpMessage received) {
  PumpMessage answer{.verb = received.message.verb, .log = received.message.log, .text = {}};
  auto it = logs_.find(answer.log);
  if (answer.verb == PumpVerb::kAttach) {
    if (it != logs_.end()) Attach(std::move(received), &it->second);
    return;
  }
  Status status;
  if (answer.verb == PumpVerb::kOpen) {
    status = Open(received.message, std::move(received.fds));
  } else if (it == logs_.end()) {
    status = absl::InternalError("the pump does not know this log");
  } else if (answer.verb == PumpVerb::kReopen) {
    if (!it->second.discard) status = it->second.file.Reopen();
  } else {
    answer.dropped_bytes = Finish(&it->second);
    if (received.message.abandoned) it->second.file.RemoveIfEmpty();
    logs_.erase(it);
  }
  answer.text = std::string(status.message());
  // The shim bounds what is on the way, so the socket has room.
  if (const Status sent = SendPumpMessage(control_.get(), answer, {}); !sent.ok()) {
    Log(LogLevel::kError, "pump answer lost", {{"error", std::string(sent.message())}});
  }
}

Status Pump::Open(const PumpMessage& message, std::vector<UniqueFd> fds) {
  ContainerLog& log = logs_[message.log];
  log.discard = message.text.empty();
  log.interactive = message.interactive;
  // Without its file the output is dropped, and counted: a workload must not stand still at a full
  // pipe.
  Status status;
  if (!log.discard) status = log.file.Open(message.text);
  for (size_t i = 0; i < fds.size() && i < 2; ++i) {
    std::unique_ptr<Stream>& stream = log.streams[i];
    stream = std::make_unique<Stream>(StreamId(message.log, i), std::move(fds[i]),
                                      LineCutter(i == 0 ? "stdout" : "stderr", &records_));
    auto watch = loop_->Add(stream->fd.get(), EPOLLIN,
                            [this, id = message.log, i](uint32_t) { OnOutput(id, i); });
    status.Update(watch.status());
    if (watch.ok()) stream->watch = *std::move(watch);
  }
  return status;
}

void Pump::OnOutput(uint32_t log_id, size_t index) {
  // epoll keeps no order: who was attached before this was said must hear it.
  TakeCommands();
  const auto it = logs_.find(log_id);
  if (it == logs_.end() || it->second.streams[index] == nullptr) return;
  ContainerLog& log = it->second;
  EndPause(&log, 1 - index);
  std::unique_ptr<Stream>& stream = log.streams[index];
  const absl::Time last_look = stream->looked_at;
  const size_t size = ReadSome(&log, &stream, kReadSize);
  if (stream == nullptr) return QuitWhenOrphaned();
  const bool soon = stream->looked_at - last_look < kPause;
  if (soon && size > 0 && size < kSmallPiece && !log.interactive) Pause(stream.get());
}

// The end of a stream is told all the same: epoll does so whatever it is asked for.
void Pump::Pause(Stream* stream) {
  stream->paused = true;
  stream->watch.SetEvents(0);
  stream->pause = loop_->After(kPause, [stream] {
    stream->paused = false;
    stream->looked_at = absl::Now();
    stream->watch.SetEvents(EPOLLIN);
  });
}

// What was said in it stands in the log before what is said now elsewhere.
void Pump::EndPause(ContainerLog* log, size_t index) {
  std::unique_ptr<Stream>& stream = log->streams[index];
  if (stream == nullptr || !stream->paused) return;
  stream->paused = false;
  stream->pause.Reset();
  stream->watch.SetEvents(EPOLLIN);
  ReadSome(log, &stream, kReadSize);
}

// A moment comes between the container's start and a client's: what was said before is in the log.
void Pump::Attach(ReceivedPumpMessage received, ContainerLog* log) {
  for (size_t i = 0; i < log->streams.size(); ++i) EndPause(log, i);
  const uint64_t owner = ++last_client_;
  for (size_t i = 0; i < received.fds.size() && i < received.message.text.size(); ++i) {
    const size_t stream = received.message.text[i] == 'o' ? 0 : 1;
    // A stream that has ended has nothing more to say: the client sees its end at once.
    if (log->streams[stream] == nullptr) continue;
    clients_.Add(log->streams[stream]->id, owner, std::move(received.fds[i]), log->interactive);
  }
}

void Pump::Resume(uint64_t stream_id) {
  for (const auto& [id, log] : logs_)
    for (const std::unique_ptr<Stream>& stream : log.streams)
      if (stream != nullptr && stream->id == stream_id) stream->watch.SetEvents(EPOLLIN);
}

size_t Pump::ReadSome(ContainerLog* log, std::unique_ptr<Stream>* stream, size_t limit) {
  const ssize_t size = read((*stream)->fd.get(), buffer_, std::min(limit, kReadSize));
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  used_ = true;
  ReleaseWhenIdle();
  (*stream)->looked_at = absl::Now();
  const int64_t now = absl::ToUnixNanos((*stream)->looked_at);
  if (size > 0) {
    const absl::string_view data(buffer_, static_cast<size_t>(size));
    if (!clients_.Write((*stream)->id, data)) (*stream)->watch.SetEvents(0);
    if (!log->discard) (*stream)->cutter.Write(data, now, &log->file);
    return data.size();
  }
  // End of file; EIO is how a terminal says it.
  if (!log->discard) (*stream)->cutter.Finish(now, &log->file);
  clients_.End((*stream)->id);
  stream->reset();
  return 0;
}

uint64_t Pump::Finish(ContainerLog* log) {
  for (std::unique_ptr<Stream>& stream : log->streams) {
    if (stream == nullptr) continue;
    // What is there now, and little more: a process that has got away may hold the pipe open and
    // write for ever.
    int available = 0;
    ioctl(stream->fd.get(), FIONREAD, &available);
    size_t left = static_cast<size_t>(std::max(available, 0)) + kReadSize;
    while (left > 0 && stream != nullptr) {
      const size_t size = ReadSome(log, &stream, left);
      if (size == 0) break;
      left -= size;
    }
    if (stream == nullptr) continue;
    if (!log->discard) stream->cutter.Finish(absl::GetCurrentTimeNanos(), &log->file);
    clients_.End(stream->id);
  }
  return log->file.dropped_bytes();
}

void Pump::QuitWhenOrphaned() {
  if (!orphaned_) return;
  for (const auto& [id, log] : logs_) {
    if (log.streams[0] != nullptr || log.streams[1] != nullptr) return;
  }
  loop_->Quit();
}

// A flood touches all pages of the buffers; a second without output gives them back.
void Pump::ReleaseWhenIdle() {
  if (idle_armed_) return;
  idle_armed_ = true;
  idle_ = loop_->After(absl::Seconds(1), [this] {
    idle_armed_ = false;
    if (std::exchange(used_, false)) {
      ReleaseWhenIdle();
      return;
    }
    madvise(buffer_, kReadSize + kRecordsSize, MADV_DONTNEED);
    ReleaseMemory();
  });
}

Status Serve(UniqueFd control) {
  ReleaseMemory();
  ASSIGN_OR_RETURN(auto loop, EventLoop::Create());
  void* memory = mmap(nullptr, kReadSize + kRecordsSize, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return SyscallError("mmap");
  return Pump(loop.get(), std::move(control), static_cast<char*>(memory)).Run();
}

}  // namespace

void RunPump(UniqueFd control) {
  const Status status = Serve(std::move(control));
  if (!status.ok()) {
    Log(LogLevel::kError, "pump ends", {{"error", std::string(status.message())}});
  }
  _exit(status.ok() ? 0 : 1);
}

}  // namespace gantry::shim
