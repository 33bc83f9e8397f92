#include "runtime/linux/unix_socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

namespace gantry {
namespace {

namespace fs = std::filesystem;

class UnixSocket : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-socket-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override { fs::remove_all(dir_); }
  std::string dir_;
};

TEST_F(UnixSocket, DescriptorsTravelAndAreCloseOnExec) {
  auto pair = SocketPair(SOCK_STREAM);
  ASSERT_TRUE(pair.ok());
  const int fds[] = {STDIN_FILENO, STDERR_FILENO};
  ASSERT_EQ(*SendWithFds(pair->first.get(), "hello", fds), 5U);
  char buffer[16];
  auto message = ReceiveWithFds(pair->second.get(), buffer);
  ASSERT_TRUE(message.ok() && message->has_value()) << message.status();
  EXPECT_EQ(std::string(buffer, (*message)->size), "hello");
  ASSERT_EQ((*message)->fds.size(), 2U);
  EXPECT_EQ(fcntl((*message)->fds[1].get(), F_GETFD), FD_CLOEXEC);
}

TEST_F(UnixSocket, NothingIsToldFromTheEnd) {
  auto pair = SocketPair(SOCK_STREAM | SOCK_NONBLOCK);
  ASSERT_TRUE(pair.ok());
  char buffer[16];
  EXPECT_FALSE(ReceiveWithFds(pair->second.get(), buffer)->has_value());
  pair->first.Reset();
  EXPECT_EQ((*ReceiveWithFds(pair->second.get(), buffer))->size, 0U);
  EXPECT_EQ(ErrnoOf(SendWithFds(pair->second.get(), "x", {}).status()), EPIPE) << "and no signal";
}

TEST_F(UnixSocket, PathsOfAnyLengthWork) {
  const std::string folder = dir_ + "/" + std::string(120, 'd');
  fs::create_directories(folder);
  for (const std::string& path : {dir_ + "/s", folder + "/shim.sock"}) {
    auto listener = ListenUnix(path, 0600);
    ASSERT_TRUE(listener.ok()) << listener.status();
    struct stat info;
    ASSERT_EQ(stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600U);
    auto connection = ConnectUnix(path);
    ASSERT_TRUE(connection.ok()) << connection.status();
    const auto peer = PeerCredentials(connection->get());
    ASSERT_TRUE(peer.ok());
    EXPECT_EQ(peer->pid, getpid());
    EXPECT_EQ(ErrnoOf(ListenUnix(path, 0600).status()), EADDRINUSE);
  }
  EXPECT_FALSE(ConnectUnix(dir_ + "/nonsuch").ok());
  EXPECT_FALSE(ListenUnix(dir_ + "/" + std::string(300, 'x'), 0600).ok());
}

}  // namespace
}  // namespace gantry
