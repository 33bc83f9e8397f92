#include "cri/streaming/remote_command.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include <boost/asio/post.hpp>

#include "cri/streaming/command_status.h"
#include "cri/streaming/limits.h"

namespace gantry::cri::streaming {
namespace {

constexpr size_t kMaxLateBytes = 1
                                 << 20;  // a pipe's capacity: what was in it when its writer ended
constexpr absl::string_view kEndOfTransmission =
    "\4";  // what a terminal's reader sees as the end of its input
constexpr std::chrono::seconds kStart(30);
constexpr std::chrono::seconds kDrain(1);       // for output that others hold open
constexpr std::chrono::seconds kKillAfter(10);  // from the client's leaving
constexpr std::chrono::seconds kGoneTogether(1);
constexpr std::chrono::seconds kOutputWithoutEnd(2);

}  // namespace

RemoteCommand::RemoteCommand(asio::io_context* io, const StreamSet& streams,
                             std::shared_ptr<Command> command)
    : io_(*io), streams_(streams), command_(std::move(command)), timer_(io_) {}

void RemoteCommand::After(std::chrono::milliseconds time, std::function<void()> then) {
  timer_.expires_after(time);
  timer_.async_wait([self = shared_from_this(), then = std::move(then)](const ErrorCode& error) {
    if (!error) then();
  });
}

void RemoteCommand::OnTransport(std::shared_ptr<ChannelTransport> transport) {
  transport_ = std::move(transport);
}

// --- Start ---------------------------------------------------------------------------------------

void RemoteCommand::OnReady() {
  if (phase_ != Phase::kWaiting) return;
  phase_ = Phase::kStarting;
  After(kStart, [this] {
    if (phase_ == Phase::kStarting)
      Tell(absl::DeadlineExceededError("the command did not start in time"));
  });
  const auto self = shared_from_this();
  command_->Start(
      size_,
      [self](StatusOr<Command::Stdio> stdio) {
        auto moved = std::make_shared<StatusOr<Command::Stdio>>(std::move(stdio));
        asio::post(self->io_, [self, moved] { self->OnStarted(std::move(*moved)); });
      },
      [self](const StatusOr<int>& exit) {
        asio::post(self->io_, [self, exit] { self->OnExited(exit); });
      });
}

void RemoteCommand::OnStarted(StatusOr<Command::Stdio> stdio) {
  if (phase_ != Phase::kStarting) {  // told or abandoned meanwhile
    if (stdio.ok()) Abandon();
    return;
  }
  timer_.cancel();
  if (!stdio.ok()) {
    Tell(stdio.status());
    return;
  }
  phase_ = Phase::kRunning;
  Adopt(*std::move(stdio));
  if (size_) command_->Resize(*size_);
  WriteInput();
  if (phase_ != Phase::kRunning) return;
  OutputEnded();
  PumpAll();
}

std::unique_ptr<RemoteCommand::Pipe> RemoteCommand::MakePipe(UniqueFd fd) {
  if (!fd.valid() || fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK) != 0)
    return nullptr;
  auto pipe = std::make_unique<Pipe>(io_);
  ErrorCode error;
  pipe->assign(fd.get(), error);
  if (error) return nullptr;
  (void)fd.Release();
  return pipe;
}

void RemoteCommand::Adopt(Command::Stdio stdio) {
  in_ = MakePipe(std::move(stdio.in));
  input_gone_ = in_ == nullptr;
  outputs_[0].pipe = MakePipe(std::move(stdio.out));
  outputs_[1].pipe = MakePipe(std::move(stdio.err));
}

// --- The client's input --------------------------------------------------------------------------

bool RemoteCommand::Accepts() const { return input_.Accepts(); }

void RemoteCommand::OnInput(Channel channel, absl::string_view data) {
  if (channel == Channel::kResize) return OnResize(data);
  if (channel != Channel::kStdin || !streams_.stdin || input_gone_ || input_ended_) return;
  const bool idle = input_.empty();
  input_.Append(data);
  if (idle) WriteInput();
}

void RemoteCommand::OnInputEnd(Channel channel) {
  if (channel != Channel::kStdin || !streams_.stdin || input_ended_) return;
  if (command_->own() && streams_.tty && !input_gone_) input_.Append(kEndOfTransmission);
  input_ended_ = true;
  WriteInput();
}

void RemoteCommand::OnResize(absl::string_view data) {
  const auto size = size_reader_.Receive(data);
  if (!size || !streams_.tty) return;
  size_ = size;
  if (phase_ == Phase::kRunning) command_->Resize(*size);
}

void RemoteCommand::WriteInput() {
  if (phase_ != Phase::kRunning && phase_ != Phase::kDraining) return;
  while (in_ != nullptr && !input_waiting_ && !input_.empty()) {
    const absl::string_view left = input_.left();
    const ssize_t written = write(in_->native_handle(), left.data(), left.size());
    if (written < 0 && IsTemporary(errno)) {
      AwaitInputRoom();
      break;
    }
    if (written < 0) {  // nobody reads it any more
      input_gone_ = true;
      in_.reset();
      break;
    }
    input_.Written(static_cast<size_t>(written));
  }
  InputWritten();
}

void RemoteCommand::AwaitInputRoom() {
  input_waiting_ = true;
  in_->async_wait(Pipe::wait_write, [self = shared_from_this()](const ErrorCode& error) {
    self->input_waiting_ = false;
    if (!error) self->WriteInput();
  });
}

void RemoteCommand::InputWritten() {
  input_gone_ ? input_.Drop() : input_.Trim();
  if (input_ended_ && input_.empty() && phase_ == Phase::kRunning) {
    if (!command_->ends_with_input()) return Tell(0);  // it has detached
    if (!streams_.tty && in_ != nullptr) {
      in_.reset();
      command_->CloseInput();
    }
  }
  if (transport_ == nullptr || !input_.HasRoomAgain()) return;
  const auto transport = transport_;
  transport->Resume();
}

// --- The process's output ------------------------------------------------------------------------

void RemoteCommand::OnWritable() { PumpAll(); }

void RemoteCommand::PumpAll() {
  for (Output& output : outputs_) Pump(&output);
}

void RemoteCommand::Pump(Output* output) {
  constexpr int kTurns = 4;  // then others have theirs
  if (output->waiting) return;
  for (int i = 0; i < kTurns; ++i)
    if (!PumpOnce(output)) return;
  if (drained_) {
    asio::post(io_, [self = shared_from_this(), output] { self->Pump(output); });
  } else {
    AwaitOutput(output);
  }
}

bool RemoteCommand::PumpOnce(Output* output) {
  if (output->pipe == nullptr || transport_ == nullptr || transport_->Full()) return false;
  char buffer[kChunk];
  const ssize_t size = read(output->pipe->native_handle(), buffer, sizeof buffer);
  if (size < 0 && IsTemporary(errno) && !drained_) {
    AwaitOutput(output);
    return false;
  }
  // A terminal's master reads EIO once nobody holds the other side.
  if (size <= 0 || late_bytes_ >= kMaxLateBytes) {
    output->pipe.reset();
    OutputEnded();
    return false;
  }
  if (drained_) late_bytes_ += static_cast<size_t>(size);
  // A terminal is read also where nobody wants its output: else its process would stop.
  if (output->channel == Channel::kStderr ? streams_.stderr : streams_.stdout)
    transport_->Write(output->channel, absl::string_view(buffer, static_cast<size_t>(size)));
  return true;
}

void RemoteCommand::AwaitOutput(Output* output) {
  output->waiting = true;
  output->pipe->async_wait(Pipe::wait_read,
                           [self = shared_from_this(), output](const ErrorCode& error) {
                             output->waiting = false;
                             if (!error || self->drained_) self->Pump(output);
                           });
}

void RemoteCommand::OutputEnded() {
  if (outputs_[0].pipe != nullptr || outputs_[1].pipe != nullptr) return;
  if (phase_ == Phase::kDraining) return Tell(*exit_);
  if (phase_ != Phase::kRunning || command_->own() || (!streams_.stdout && !streams_.stderr))
    return;
  // An attached container's output ends with it, as its exit is about to tell. Or else:
  After(kOutputWithoutEnd, [this] {
    if (phase_ == Phase::kRunning)
      Tell(absl::UnavailableError(
          "the output has ended although the container runs: it has closed its output, or this "
          "client took too little of it"));
  });
}

// --- The end -------------------------------------------------------------------------------------

void RemoteCommand::OnExited(StatusOr<int> exit) {
  if (exit_) return;
  exit_ = std::move(exit);
  if (phase_ == Phase::kAbandoned) timer_.cancel();
  if (phase_ != Phase::kRunning) return;
  phase_ = Phase::kDraining;
  After(kDrain, [this] { StopDraining(); });
  OutputEnded();
}

// What the process wrote is in the pipes; what others, which it has left behind, may write does not
// keep the session.
void RemoteCommand::StopDraining() {
  if (phase_ != Phase::kDraining) return;
  drained_ = true;
  for (Output& output : outputs_) {
    if (output.pipe == nullptr) continue;
    if (output.waiting) {
      output.pipe->cancel();  // its completion pumps
    } else {
      Pump(&output);
    }
  }
}

void RemoteCommand::Tell(const StatusOr<int>& exit) {
  if (phase_ == Phase::kTold || phase_ == Phase::kAbandoned) return;
  const bool runs = phase_ == Phase::kRunning;
  phase_ = Phase::kTold;
  timer_.cancel();
  ClosePipes();
  if (const auto transport = std::exchange(transport_, nullptr)) {
    if (streams_.stdout) transport->CloseChannel(Channel::kStdout);
    if (streams_.stderr) transport->CloseChannel(Channel::kStderr);
    const std::string status = CommandStatus(transport->version(), exit);
    if (!status.empty()) transport->Write(Channel::kError, status);
    transport->CloseChannel(Channel::kError);
    transport->Finish();
  }
  if (runs) Abandon();
}

void RemoteCommand::ClosePipes() {
  in_.reset();
  input_.Drop();
  input_gone_ = true;
  for (Output& output : outputs_) output.pipe.reset();
}

void RemoteCommand::Abandon() {
  phase_ = Phase::kAbandoned;
  ClosePipes();
  if (exit_) return;
  if (!command_->own()) {
    if (command_->ends_with_input() && streams_.stdin) command_->CloseInput();
    return;
  }
  if (streams_.tty) command_->HangUp();
  After(kKillAfter, [this] { command_->Kill(); });
}

void RemoteCommand::OnGone(const Status&) {
  transport_.reset();
  switch (phase_) {
    case Phase::kRunning:
      Abandon();
      return;
    case Phase::kWaiting:
    case Phase::kStarting:  // OnStarted finds it
    case Phase::kDraining:
      timer_.cancel();
      ClosePipes();
      phase_ = Phase::kAbandoned;
      return;
    case Phase::kTold:
    case Phase::kAbandoned:
      return;
  }
}

void RemoteCommand::OnContainerGone() {
  if (!command_->own()) {
    if (phase_ == Phase::kRunning) return OnExited(0);
    Tell(0);
    return;
  }
  // Its execs are killed with it, and their exit is about to come.
  After(kGoneTogether, [this] {
    if (exit_) return;
    command_->Kill();
    Tell(absl::UnavailableError("the container has exited"));
  });
}

void RemoteCommand::End(SessionEnd why) {
  switch (why) {
    case SessionEnd::kOwnerEnded:
      if (phase_ == Phase::kWaiting || phase_ == Phase::kStarting || phase_ == Phase::kRunning)
        OnContainerGone();
      return;
    case SessionEnd::kIdle:
      Tell(absl::DeadlineExceededError("the session was idle for too long"));
      return;
    case SessionEnd::kServerEnding:
      Tell(absl::UnavailableError("gantryd is ending"));
      return;
    case SessionEnd::kClientGone:
      if (const auto transport = transport_) transport->Abort();
      OnGone(absl::UnavailableError("the client has hung up"));
      return;
  }
}

}  // namespace gantry::cri::streaming
