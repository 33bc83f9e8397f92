#include "runtime/handshake.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "runtime/linux/unix_socket.h"

namespace gantry::runtime {
namespace {

class Handshake : public ::testing::Test {
 protected:
  void SetUp() override {
    auto ends = SocketPair(SOCK_SEQPACKET);
    ASSERT_TRUE(ends.ok());
    parent_ = std::move(ends->first);
    child_ = std::move(ends->second);
  }
  HandshakeMessage Receive() {
    auto message = ReceiveHandshake(parent_.get(), /*block=*/false);
    EXPECT_TRUE(message.ok()) << message.status();
    return message.ok() ? std::move(*message) : HandshakeMessage();
  }
  UniqueFd parent_;
  UniqueFd child_;
};

TEST_F(Handshake, NothingIsNotTheEnd) {
  EXPECT_EQ(Receive().kind, HandshakeKind::kNothing);
  child_.Reset();
  EXPECT_EQ(Receive().kind, HandshakeKind::kClosed);
}

TEST_F(Handshake, AnErrorArrivesAsItWas) {
  SendError(child_.get(), SyscallError("mount", "/data", ENODEV));
  const HandshakeMessage message = Receive();
  EXPECT_EQ(message.kind, HandshakeKind::kError);
  EXPECT_EQ(message.error.message(), "mount /data: No such device");
  EXPECT_EQ(message.error.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(ErrnoOf(message.error), ENODEV);
}

TEST_F(Handshake, ALongErrorIsCut) {
  SendError(child_.get(), absl::InvalidArgumentError(std::string(10'000, 'x')));
  const HandshakeMessage message = Receive();
  EXPECT_EQ(message.error.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_GT(message.error.message().size(), 4000U);
}

TEST_F(Handshake, DescriptorsAreCloseOnExec) {
  const int fds[] = {STDERR_FILENO, STDERR_FILENO};
  ASSERT_TRUE(SendHandshake(child_.get(), HandshakeKind::kReady, fds).ok());
  const HandshakeMessage message = Receive();
  ASSERT_EQ(message.fds.size(), 2U);
  EXPECT_EQ(fcntl(message.fds[0].get(), F_GETFD), FD_CLOEXEC);
}

TEST_F(Handshake, APidComesWithItsDescriptor) {
  ASSERT_TRUE(SendProcess(child_.get(), 4711, STDERR_FILENO).ok());
  const HandshakeMessage message = Receive();
  EXPECT_EQ(message.kind, HandshakeKind::kProcess);
  EXPECT_EQ(message.pid, 4711);
  EXPECT_EQ(message.fds.size(), 1U);
}

TEST_F(Handshake, AShortMessageIsAnError) {
  ASSERT_EQ(send(child_.get(), "R", 1, 0), 1);
  EXPECT_FALSE(ReceiveHandshake(parent_.get(), /*block=*/false).ok());
}

}  // namespace
}  // namespace gantry::runtime
