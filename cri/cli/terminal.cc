#include "cri/cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <utility>

namespace gantry::cli {

std::optional<TerminalSize> SizeOfTerminal(int fd) {
  winsize size = {};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
    return std::nullopt;
  return TerminalSize{size.ws_col, size.ws_row};
}

StatusOr<RawTerminal> RawTerminal::Enter(int fd) {
  termios before = {};
  if (tcgetattr(fd, &before) != 0)
    return absl::FailedPreconditionError(
        "-t needs a terminal as standard input; leave it out in a pipe");
  termios raw = before;
  cfmakeraw(&raw);
  if (tcsetattr(fd, TCSADRAIN, &raw) != 0) return SyscallError("tcsetattr");
  return RawTerminal(fd, before);
}

RawTerminal::RawTerminal(RawTerminal&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), before_(other.before_) {}

RawTerminal::~RawTerminal() {
  if (fd_ >= 0) tcsetattr(fd_, TCSADRAIN, &before_);
}

}  // namespace gantry::cli
