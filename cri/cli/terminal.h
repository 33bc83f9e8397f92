// The caller's own terminal.
#pragma once

#include <termios.h>

#include <cstdint>
#include <optional>

#include "runtime/base/status.h"

namespace gantry::cli {

struct TerminalSize {
  uint16_t width = 0;
  uint16_t height = 0;
};

// Of the terminal behind the descriptor; nothing when it is none, or does not know.
std::optional<TerminalSize> SizeOfTerminal(int fd);

// Every key goes to the other side as it is, Ctrl-C too, and nothing is echoed: until destruction.
class RawTerminal {
 public:
  // kFailedPrecondition: the descriptor is no terminal. SyscallError("tcsetattr").
  static StatusOr<RawTerminal> Enter(int fd);
  RawTerminal(RawTerminal&& other) noexcept;
  RawTerminal& operator=(RawTerminal&&) = delete;
  ~RawTerminal();

 private:
  RawTerminal(int fd, const termios& before) : fd_(fd), before_(before) {}
  int fd_;
  termios before_;
};

}  // namespace gantry::cli
