#include "runtime/linux/unix_socket.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

#include "runtime/linux/file.h"

namespace gantry {
namespace {

union ControlBuffer {
  char bytes[CMSG_SPACE(sizeof(int) * kMaxMessageFds)];
  struct cmsghdr align;
};

// A path as the kernel can take it, and the directory that it leans on.
struct SocketAddress {
  UniqueFd directory;
  struct sockaddr_un address = {};
};

StatusOr<SocketAddress> AddressOf(const std::string& path) {
  SocketAddress result;
  result.address.sun_family = AF_UNIX;
  std::string name = path;
  if (name.size() >= sizeof result.address.sun_path) {
    const size_t slash = path.rfind('/');
    const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    ASSIGN_OR_RETURN(result.directory, OpenAt(AT_FDCWD, parent, O_PATH | O_DIRECTORY));
    name = absl::StrCat(FdPath(result.directory.get()), "/", path.substr(slash + 1));
  }
  if (name.empty() || name.size() >= sizeof result.address.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("socket \"", path, "\": the name is too long"));
  }
  memcpy(result.address.sun_path, name.c_str(), name.size() + 1);
  return result;
}

const struct sockaddr* Generic(const SocketAddress& address) {
  return reinterpret_cast<const struct sockaddr*>(&address.address);
}

// Takes every descriptor out of the control data, so that none is lost on an error path.
std::vector<UniqueFd> TakeFds(struct msghdr& message) {
  std::vector<UniqueFd> fds;
  for (struct cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

}  // namespace

StatusOr<std::pair<UniqueFd, UniqueFd>> SocketPair(int type) {
  int ends[2];
  if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0) return SyscallError("socketpair");
  return std::make_pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

StatusOr<size_t> SendWithFds(int socket, absl::string_view data, std::span<const int> fds,
                             int flags) {
  if (fds.size() > kMaxMessageFds) {
    return absl::InvalidArgumentError(absl::StrCat(fds.size(), " descriptors in one message"));
  }
  struct iovec part = {const_cast<char*>(data.data()), data.size()};
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ControlBuffer control = {};
  if (!fds.empty()) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  ssize_t sent = -1;
  do {
    sent = sendmsg(socket, &message, flags | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return SyscallError("sendmsg");
  return static_cast<size_t>(sent);
}

StatusOr<std::optional<ReceivedMessage>> ReceiveWithFds(int socket, std::span<char> buffer,
                                                        int flags) {
  struct iovec part = {buffer.data(), buffer.size()};
  ControlBuffer control;
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  ssize_t size = -1;
  do {
    size = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  if (size < 0 && errno == EAGAIN) return std::optional<ReceivedMessage>();
  if (size < 0) return SyscallError("recvmsg");
  ReceivedMessage received{static_cast<size_t>(size), TakeFds(message)};
  if ((message.msg_flags & MSG_CTRUNC) != 0) {
    return absl::ResourceExhaustedError("recvmsg: descriptors were cut off");
  }
  return std::optional<ReceivedMessage>(std::move(received));
}

StatusOr<UniqueFd> ListenUnix(const std::string& path, mode_t mode, int backlog) {
  ASSIGN_OR_RETURN(const SocketAddress address, AddressOf(path));
  UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener.valid()) return SyscallError("socket", path);
  // The node takes the socket's own mode, less the umask: set before bind, it is never wider than
  // asked for.
  if (fchmod(listener.get(), mode) != 0) return SyscallError("fchmod", path);
  if (bind(listener.get(), Generic(address), sizeof address.address) != 0) {
    return SyscallError("bind", path);
  }
  if (listen(listener.get(), backlog) != 0) return SyscallError("listen", path);
  return listener;
}

StatusOr<UniqueFd> ConnectUnix(const std::string& path) {
  ASSIGN_OR_RETURN(const SocketAddress address, AddressOf(path));
  UniqueFd connection(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!connection.valid()) return SyscallError("socket", path);
  if (connect(connection.get(), Generic(address), sizeof address.address) != 0) {
    return SyscallError("connect", path);
  }
  return connection;
}

StatusOr<struct ucred> PeerCredentials(int socket) {
  struct ucred peer = {};
  socklen_t size = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return SyscallError("getsockopt", "SO_PEERCRED");
  }
  return peer;
}

}  // namespace gantry
