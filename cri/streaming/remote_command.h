// An Exec or Attach session: a client's channels on one side, a process's pipes on the other.
//
//              OnReady            OnStarted             exit              outputs at their end
//   WAITING ───────────▶ STARTING ─────────▶ RUNNING ─────────▶ DRAINING ─────────────────────▶
//   TOLD
//      │                    │ error: told      │   │                │ 1 s: what is in the pipes, no
//      more └────────────────────┴─ client gone ────┘   └─ container gone, idle: told at once
//                                  │
//                            ABANDONED: pipes are closed, a terminal is hung up;
//                            an exec that is still there after 10 s is killed as a tree
//
// Whatever happens is told: the output first, then its end, the status, its end. Nothing here
// waits: a client that does not read stops the reading of the pipes, a process that does not read
// stops, at 1 MiB, the reading of the client.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "cri/streaming/byte_stream.h"
#include "cri/streaming/channels.h"
#include "cri/streaming/command.h"
#include "cri/streaming/input_buffer.h"
#include "cri/streaming/session.h"
#include "cri/streaming/terminal_size.h"

namespace gantry::cri::streaming {

// On the io thread; made on any.
class RemoteCommand final : public ChannelSession,
                            public Session,
                            public std::enable_shared_from_this<RemoteCommand> {
 public:
  RemoteCommand(asio::io_context* io, const StreamSet& streams, std::shared_ptr<Command> command);

  [[nodiscard]] const StreamSet& streams() const override { return streams_; }
  void OnTransport(std::shared_ptr<ChannelTransport> transport) override;
  void OnReady() override;
  void OnInput(Channel channel, absl::string_view data) override;
  void OnInputEnd(Channel channel) override;
  [[nodiscard]] bool Accepts() const override;
  void OnWritable() override;
  void OnGone(const Status& why) override;
  void End(SessionEnd why) override;

 private:
  enum class Phase { kWaiting, kStarting, kRunning, kDraining, kTold, kAbandoned };
  using Pipe = asio::posix::stream_descriptor;
  struct Output {
    Channel channel;
    std::unique_ptr<Pipe> pipe = {};  // nullptr: at its end
    bool waiting = false;
  };

  void OnStarted(StatusOr<Command::Stdio> stdio);
  void OnExited(StatusOr<int> exit);
  void OnContainerGone();
  void Adopt(Command::Stdio stdio);
  std::unique_ptr<Pipe> MakePipe(UniqueFd fd);
  void OnResize(absl::string_view data);
  void WriteInput();
  void AwaitInputRoom();
  void InputWritten();
  void PumpAll();
  void Pump(Output* output);
  // False: nothing more for now.
  bool PumpOnce(Output* output);
  void AwaitOutput(Output* output);
  void OutputEnded();
  void StopDraining();
  void Tell(const StatusOr<int>& exit);
  void Abandon();
  void ClosePipes();
  void After(std::chrono::milliseconds time, std::function<void()> then);

  asio::io_context& io_;
  const StreamSet streams_;
  const std::shared_ptr<Command> command_;
  std::shared_ptr<ChannelTransport> transport_;  // nullptr: the client is gone, or was told
  Phase phase_ = Phase::kWaiting;
  asio::steady_timer timer_;

  std::unique_ptr<Pipe> in_;
  InputBuffer input_;         // for in_
  bool input_ended_ = false;  // by the client
  bool input_gone_ = false;   // nobody reads it
  bool input_waiting_ = false;

  std::array<Output, 2> outputs_ = {Output{Channel::kStdout}, Output{Channel::kStderr}};
  bool drained_ = false;   // pipes end where they are empty
  size_t late_bytes_ = 0;  // read since
  std::optional<StatusOr<int>> exit_;

  TerminalSizeReader size_reader_;
  std::optional<TerminalSize> size_;
};

}  // namespace gantry::cri::streaming
