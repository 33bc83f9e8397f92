#include "runtime/linux/netlink.h"

#include <linux/if.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "runtime/linux/unique_fd.h"

namespace gantry {
namespace {

constexpr int kLoopbackIndex = 1;

struct LinkRequest {
  struct nlmsghdr header;
  struct ifinfomsg link;
};

struct Acknowledgement {
  struct nlmsghdr header;
  struct nlmsgerr error;
};

}  // namespace

Status BringLoopbackUp() {
  UniqueFd netlink(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!netlink.valid()) return SyscallError("socket", "netlink");
  LinkRequest request = {};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_NEWLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.link.ifi_family = AF_UNSPEC;
  request.link.ifi_index = kLoopbackIndex;
  request.link.ifi_flags = IFF_UP;
  request.link.ifi_change = IFF_UP;
  if (send(netlink.get(), &request, sizeof request, 0) < 0) return SyscallError("send", "netlink");
  // The answer is there when send returns: the kernel handles route requests in the sender's
  // context.
  Acknowledgement answer = {};
  const ssize_t size = recv(netlink.get(), &answer, sizeof answer, 0);
  if (size < static_cast<ssize_t>(sizeof answer) || answer.header.nlmsg_type != NLMSG_ERROR) {
    return SyscallError("bring up", "lo", size < 0 ? errno : EPROTO);
  }
  if (answer.error.error != 0) return SyscallError("bring up", "lo", -answer.error.error);
  return absl::OkStatus();
}

}  // namespace gantry
