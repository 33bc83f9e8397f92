#include "shim/console.h"

#include <sys/ioctl.h>

namespace gantry::shim {

Status ResizeTerminal(int terminal, uint32_t width, uint32_t height) {
  if (terminal < 0) return absl::FailedPreconditionError("there is no terminal");
  winsize size{};
  size.ws_col = static_cast<unsigned short>(width);
  size.ws_row = static_cast<unsigned short>(height);
  if (ioctl(terminal, TIOCSWINSZ, &size) != 0) return SyscallError("TIOCSWINSZ");
  return absl::OkStatus();
}

}  // namespace gantry::shim
