#include "cri/streaming/pod_sockets.h"

#include <sys/socket.h>

#include "runtime/linux/network_thread.h"

namespace gantry::cri::streaming {
namespace {

StatusOr<UniqueFd> MakeSocket(int family) {
  UniqueFd made(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made.valid()) return SyscallError("socket");
  return made;
}

}  // namespace

StatusOr<UniqueFd> SocketInNetwork(const std::string& netns_path, int family) {
  if (netns_path.empty()) return MakeSocket(family);
  return OpenInNetwork(netns_path, [family] { return MakeSocket(family); });
}

}  // namespace gantry::cri::streaming
