#include "runtime/oci_terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>

#include "absl/cleanup/cleanup.h"

#include "runtime/linux/file.h"
#include "runtime/linux/unix_socket.h"

namespace gantry::runtime {
namespace {

constexpr int kForwarded[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,
                              SIGUSR2, SIGCONT, SIGTSTP, SIGWINCH};

std::optional<termios> MakeRaw(int fd) {
  termios saved = {};
  if (tcgetattr(fd, &saved) != 0) return std::nullopt;  // no terminal
  termios raw = saved;
  cfmakeraw(&raw);
  if (tcsetattr(fd, TCSANOW, &raw) != 0) return std::nullopt;
  return saved;
}

void CopyWindowSize(int master) {
  winsize size = {};
  if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) ioctl(master, TIOCSWINSZ, &size);
}

void PassSignalOn(int signals, int pidfd, int master) {
  signalfd_siginfo info = {};
  if (read(signals, &info, sizeof(info)) != sizeof(info)) return;
  const int signal = static_cast<int>(info.ssi_signo);
  if (signal == SIGWINCH && master >= 0) return CopyWindowSize(master);
  SignalPidFd(pidfd, signal).IgnoreError();
}

// False at the end of `from`. A pty's master answers EIO when its last slave has closed.
bool CopySome(int from, int to) {
  std::array<char, 16384> buffer;
  const ssize_t size = read(from, buffer.data(), buffer.size());
  if (size < 0 && errno == EINTR) return true;
  if (size <= 0) return false;
  return WriteAll(to, absl::string_view(buffer.data(), static_cast<size_t>(size)), "terminal").ok();
}

// What the process has written before it ended.
void Drain(int master) {
  pollfd readable = {.fd = master, .events = POLLIN, .revents = 0};
  while (poll(&readable, 1, 0) == 1 && (readable.revents & POLLIN) != 0) {
    if (!CopySome(master, STDOUT_FILENO)) return;
  }
}

}  // namespace

Status SendTerminal(const std::string& path, int master) {
  ASSIGN_OR_RETURN_CONTEXT(const UniqueFd socket, ConnectUnix(path), "console socket");
  return SendWithFds(socket.get(), "/dev/ptmx", std::array<int, 1>{master}).status();
}

StatusOr<UniqueFd> CatchSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : kForwarded) sigaddset(&set, signal);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return SyscallError("sigprocmask");
  UniqueFd signals(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals.valid()) return SyscallError("signalfd");
  return signals;
}

StatusOr<ExitStatus> Attend(int pidfd, int signals, int master) {
  const auto saved = master >= 0 ? MakeRaw(STDIN_FILENO) : std::nullopt;
  const absl::Cleanup restore = [&saved] {
    if (saved.has_value()) tcsetattr(STDIN_FILENO, TCSANOW, &*saved);
  };
  if (master >= 0) CopyWindowSize(master);
  pollfd watched[] = {{.fd = pidfd, .events = POLLIN, .revents = 0},
                      {.fd = signals, .events = POLLIN, .revents = 0},
                      {.fd = master, .events = POLLIN, .revents = 0},
                      {.fd = master >= 0 ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0}};
  while (true) {
    if (poll(watched, 4, -1) < 0 && errno != EINTR) return SyscallError("poll", "container");
    if (watched[1].revents != 0) PassSignalOn(signals, pidfd, master);
    if (watched[2].revents != 0 && !CopySome(master, STDOUT_FILENO)) watched[2].fd = -1;
    if (watched[3].revents != 0 && !CopySome(STDIN_FILENO, master)) watched[3].fd = -1;
    if (watched[0].revents != 0) break;
  }
  if (watched[2].fd >= 0) Drain(master);
  ASSIGN_OR_RETURN(const auto exit, WaitPidFd(pidfd, /*block=*/true));
  return *exit;
}

}  // namespace gantry::runtime
