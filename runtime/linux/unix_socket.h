// Unix sockets: pairs, descriptors in messages, listeners at paths of any length, who the peer is.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

#include "runtime/base/status.h"
#include "runtime/linux/unique_fd.h"

namespace gantry {

// The most descriptors that one message may carry here (the kernel's bound is 253).
inline constexpr size_t kMaxMessageFds = 32;

// socketpair(2), close-on-exec. `type`: SOCK_STREAM, SOCK_SEQPACKET, with SOCK_NONBLOCK at will.
StatusOr<std::pair<UniqueFd, UniqueFd>> SocketPair(int type);

// sendmsg(2) with descriptors on the first byte; they stay open here. MSG_NOSIGNAL is added to
// `flags`. Returns the bytes sent: a stream socket may take fewer than given (the descriptors are
// then gone already). When it would block: an error with ErrnoOf EAGAIN.
StatusOr<size_t> SendWithFds(int socket, absl::string_view data, std::span<const int> fds,
                             int flags = 0);

struct ReceivedMessage {
  size_t size = 0;  // 0: the peer has closed
  std::vector<UniqueFd> fds;
};

// recvmsg(2). Nothing when it would block. kResourceExhausted when descriptors were cut off (more
// than kMaxMessageFds, or none left in the process): those that came are closed.
StatusOr<std::optional<ReceivedMessage>> ReceiveWithFds(int socket, std::span<char> buffer,
                                                        int flags = 0);

// A listening, non-blocking stream socket at `path` (its directory must exist; nothing may be at
// the path). Its mode is `mode` less the umask, from birth. Longer paths than sun_path holds (107
// bytes) go through /proc/self/fd.
StatusOr<UniqueFd> ListenUnix(const std::string& path, mode_t mode, int backlog = 16);

// A connected stream socket.
StatusOr<UniqueFd> ConnectUnix(const std::string& path);

// SO_PEERCRED: pid, uid, gid of the peer at connect, listen or socketpair time.
StatusOr<struct ucred> PeerCredentials(int socket);

}  // namespace gantry
