#include "cri/streaming/pod_sockets.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>

#include <thread>

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
  const UniqueFd netns(open(netns_path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!netns.valid()) return SyscallError("open", netns_path);
  StatusOr<UniqueFd> made = absl::UnknownError("");
  std::thread inside([&] {
    if (setns(netns.get(), CLONE_NEWNET) != 0)
      made = SyscallError("setns", netns_path);
    else
      made = MakeSocket(family);
  });
  inside.join();
  return made;
}

}  // namespace gantry::cri::streaming
