#include "runtime/oci_keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"
#include "runtime/linux/process.h"
#include "runtime/linux/unix_socket.h"

namespace gantry::runtime {
namespace {

constexpr size_t kMaxReply = 64 << 10;

// False: init has gone.
bool AwaitClient(const Creation& creation, int listener) {
  while (true) {
    pollfd watched[] = {{.fd = listener, .events = POLLIN, .revents = 0},
                        {.fd = creation.poll_fd(), .events = POLLIN, .revents = 0}};
    if (poll(watched, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    // Nothing is said by init before START: readable means closed.
    if (watched[1].revents != 0) return false;
    if ((watched[0].revents & POLLIN) != 0) return true;
  }
}

[[noreturn]] void KeepUntilStart(Creation& creation, int listener, const std::string& socket_path) {
  if (!AwaitClient(creation, listener)) _exit(0);
  const UniqueFd client(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  // Gone before the answer: whoever sees "running" must not find a keeper.
  unlink(socket_path.c_str());
  Status status = creation.Start();
  if (status.ok()) status = DriveTo(creation, Creation::Step::kRunning);
  const std::string reply = status.ok() ? "K" : absl::StrCat("E", status.message());
  (void)send(client.get(), reply.data(), reply.size(), MSG_NOSIGNAL);
  _exit(0);
}

// Leaves the caller's session, working directory and descriptors: a pipe kept open here would keep
// its reader waiting.
Status Detach(const Creation& creation, int listener) {
  RETURN_IF_ERROR(CloseFdsExcept({creation.poll_fd(), listener}));
  ASSIGN_OR_RETURN(const UniqueFd null, OpenAt(AT_FDCWD, "/dev/null", O_RDWR));
  for (int fd = 0; fd < 3; ++fd) {
    if (dup2(null.get(), fd) < 0) return SyscallError("dup2", "/dev/null");
  }
  setsid();
  if (chdir("/") != 0) return SyscallError("chdir", "/");
  return absl::OkStatus();
}

}  // namespace

Status DriveTo(Creation& creation, Creation::Step step) {
  while (true) {
    pollfd readable = {.fd = creation.poll_fd(), .events = POLLIN, .revents = 0};
    if (poll(&readable, 1, -1) < 0 && errno != EINTR) return SyscallError("poll", "handshake");
    ASSIGN_OR_RETURN(const Creation::Step now, creation.OnReadable());
    if (now == step) return absl::OkStatus();
  }
}

Status StartKeeper(Creation& creation, const std::string& socket_path, const std::string& id) {
  ASSIGN_OR_RETURN(const UniqueFd listener, ListenUnix(socket_path, 0600));
  ASSIGN_OR_RETURN(const ClonedProcess keeper, Clone({}));
  if (keeper.pid > 0) return absl::OkStatus();
  prctl(PR_SET_NAME, absl::StrCat("keep:", id).substr(0, 15).c_str(), 0, 0, 0);
  if (!Detach(creation, listener.get()).ok()) _exit(1);
  KeepUntilStart(creation, listener.get(), socket_path);
}

Status AskKeeper(const std::string& socket_path) {
  const auto socket = ConnectUnix(socket_path);
  if (!socket.ok()) {
    if (ErrnoOf(socket.status()) == ENOENT || ErrnoOf(socket.status()) == ECONNREFUSED)
      return absl::FailedPreconditionError("the container does not wait for its start");
    return socket.status();
  }
  ASSIGN_OR_RETURN(const std::string reply, ReadAll(socket->get(), "start.sock", kMaxReply));
  if (reply.empty()) return absl::InternalError("the container was killed before its start");
  if (reply[0] == 'K') return absl::OkStatus();
  return absl::InternalError(reply.substr(1));
}

}  // namespace gantry::runtime
