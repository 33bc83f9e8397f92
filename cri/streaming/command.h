// The process of an Exec or Attach session, as the session sees it.
#pragma once

#include <functional>
#include <optional>

#include "cri/streaming/terminal_size.h"
#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::cri::streaming {

// What a client asks for.
struct StreamSet {
  bool stdin = false, stdout = false, stderr = false;
  bool tty = false;
};

// kInvalidArgument when it makes no sense.
inline Status CheckStreams(const StreamSet& streams) {
  if (!streams.stdin && !streams.stdout && !streams.stderr)
    return absl::InvalidArgumentError("one of stdin, stdout and stderr has to be set");
  if (streams.tty && streams.stderr)
    return absl::InvalidArgumentError("tty and stderr: a terminal has one output");
  return absl::OkStatus();
}

// What a session is about: a process that is made for it, or a container that is there anyway. Used
// on the io thread, and must not block it; callbacks may come on any thread, also after the command
// itself has gone.
class Command {
 public:
  // Our ends; those that are not asked for may be invalid. With a terminal `in` and `out` are its
  // master.
  struct Stdio {
    UniqueFd in, out, err;
  };
  using Started = std::function<void(StatusOr<Stdio>)>;
  using Exited = std::function<void(StatusOr<int>)>;

  virtual ~Command() = default;
  // `started` is called once; `exited` once after a start that went well, never for a container
  // that is attached to: that one's end is the owner's, Session::End.
  virtual void Start(std::optional<TerminalSize> size, Started started, Exited exited) = 0;
  virtual void Resize(TerminalSize size) = 0;
  // Whether it is made for this session, and is to end with it.
  [[nodiscard]] virtual bool own() const = 0;
  // Whether the end of the client's input is the end of the process's.
  [[nodiscard]] virtual bool ends_with_input() const = 0;
  // The process reads the end of its input, once `in` is closed too.
  virtual void CloseInput() = 0;
  virtual void HangUp() = 0;
  // SIGKILL to the whole tree.
  virtual void Kill() = 0;
};

}  // namespace gantry::cri::streaming
