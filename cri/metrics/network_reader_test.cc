#include "cri/metrics/network_reader.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "runtime/linux/file.h"

namespace gantry::cri {
namespace {

// Runs `work` in a new network namespace and returns it.
template <typename Work>
UniqueFd InNewNetwork(Work work) {
  UniqueFd fd;
  std::thread([&] {
    if (unshare(CLONE_NEWNET) != 0) return;
    work();
    fd.Reset(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  }).join();
  return fd;
}

// One frame of 100 bytes out of the interface.
bool SendFrame(const char* interface) {
  const UniqueFd socket_fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  char frame[100] = {};
  sockaddr_ll address = {};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = static_cast<int>(if_nametoindex(interface));
  return sendto(socket_fd.get(), frame, sizeof frame, 0, reinterpret_cast<sockaddr*>(&address),
                sizeof address) == static_cast<ssize_t>(sizeof frame);
}

TEST(NetworkReader, CountsInsideTheNamespaceOnly) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  const UniqueFd netns = InNewNetwork([] {
    ASSERT_EQ(system("ip link add eth0 type veth peer name other && ip link set eth0 up && "
                     "ip link set other up"),
              0);
    ASSERT_TRUE(SendFrame("other"));
  });
  ASSERT_TRUE(netns.valid());
  const auto reader = NetworkReader::Open(FdPath(netns.get()));
  ASSERT_TRUE(reader.ok()) << reader.status();
  const auto interfaces = (*reader)->Read();
  ASSERT_EQ(interfaces.size(), 2u);
  const InterfaceCounters& eth0 = interfaces[0].name == "eth0" ? interfaces[0] : interfaces[1];
  EXPECT_EQ(eth0.name, "eth0");
  EXPECT_GE(eth0.rx_bytes, 100u);
  EXPECT_GE(eth0.rx_packets, 1u);
  EXPECT_EQ(eth0.rx_errors, 0u);

  std::thread([&netns] {
    ASSERT_EQ(setns(netns.get(), CLONE_NEWNET), 0);
    ASSERT_TRUE(SendFrame("other"));
  }).join();
  const auto later = (*reader)->Read();
  ASSERT_EQ(later.size(), 2u);
  EXPECT_GE((later[0].name == "eth0" ? later[0] : later[1]).rx_packets, eth0.rx_packets + 1);
}

TEST(NetworkReader, NeedsANamespace) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  EXPECT_FALSE(NetworkReader::Open("/no/such/namespace").ok());
  EXPECT_FALSE(NetworkReader::Open("/dev/null").ok());
}

}  // namespace
}  // namespace gantry::cri
