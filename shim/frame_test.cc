#include "shim/frame.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "runtime/linux/unix_socket.h"

namespace gantry::shim {
namespace {

// length, stream 7, type, flags
std::string Header(uint32_t length, char type, char flags) {
  std::string header;
  for (int shift = 24; shift >= 0; shift -= 8) header.push_back(static_cast<char>(length >> shift));
  return header + std::string("\0\0\0\7", 4) + type + flags;
}

std::vector<UniqueFd> Fds(int count) {
  std::vector<UniqueFd> fds;
  for (int i = 0; i < count; ++i) fds.emplace_back(open("/dev/null", O_RDWR | O_CLOEXEC));
  return fds;
}

TEST(FrameDecoder, JoinsAFrameThatComesByteByByte) {
  FrameDecoder decoder;
  std::vector<Frame> frames;
  const std::string bytes = Header(3, 1, 0) + "abc" + Header(0, 2, 0) + Header(1, 3, 0) + "x";
  for (char c : bytes) ASSERT_TRUE(decoder.Feed(std::string(1, c), {}, &frames).ok());
  ASSERT_EQ(frames.size(), 3U);
  EXPECT_EQ(frames[0].body, "abc");
  EXPECT_EQ(frames[0].stream, 7U);
  EXPECT_EQ(frames[1].type, FrameType::kReply);
  EXPECT_EQ(frames[1].body, "");
  EXPECT_EQ(frames[2].body, "x");
}

TEST(FrameDecoder, GivesDescriptorsToTheFrameThatAnnouncesThem) {
  FrameDecoder decoder;
  std::vector<Frame> frames;
  // What the kernel may glue: the end of a frame without descriptors, and the first bytes of one
  // with two.
  ASSERT_TRUE(
      decoder.Feed(Header(1, 1, 0) + "a" + Header(9, 1, 2).substr(0, 3), Fds(2), &frames).ok());
  ASSERT_TRUE(decoder.Feed(Header(9, 1, 2).substr(3) + "123456789", {}, &frames).ok());
  ASSERT_EQ(frames.size(), 2U);
  EXPECT_EQ(frames[0].fds.size(), 0U);
  EXPECT_EQ(frames[1].fds.size(), 2U);
}

struct HostileCase {
  const char* what;
  std::string bytes;
  int fds;
};

TEST(FrameDecoder, RefusesHostileFrames) {
  const HostileCase cases[] = {
      {"body over 4 MiB", Header((4 << 20) + 1, 1, 0), 0},
      {"body of 4 GiB", Header(0xffffffff, 1, 0), 0},
      {"type 0", Header(0, 0, 0), 0},
      {"type 4", Header(0, 4, 0), 0},
      {"descriptors announced, none came", Header(0, 1, 1), 0},
      {"255 descriptors announced", Header(0, 1, '\xff'), 16},
      {"descriptors that nobody announces", Header(0, 1, 0), 1},
      {"descriptors in the middle of a body", Header(5, 1, 0) + "ab", 1},
      {"too many descriptors before a header", "abc", 17},
  };
  for (const HostileCase& c : cases) {
    FrameDecoder decoder;
    std::vector<Frame> frames;
    EXPECT_TRUE(absl::IsInvalidArgument(decoder.Feed(c.bytes, Fds(c.fds), &frames))) << c.what;
  }
}

TEST(FrameDecoder, KeepsATruncatedFrameForLater) {
  FrameDecoder decoder;
  std::vector<Frame> frames;
  EXPECT_TRUE(decoder.Feed(Header(100, 1, 0) + "short", {}, &frames).ok());
  EXPECT_TRUE(frames.empty());
}

class FrameTransfer : public ::testing::Test {
 protected:
  void SetUp() override {
    auto pair = SocketPair(SOCK_STREAM | SOCK_NONBLOCK).value();
    ours_ = std::move(pair.first);
    theirs_ = std::move(pair.second);
  }
  // Sends what waits and receives until `count` frames are here.
  std::vector<Frame> Exchange(size_t count) {
    std::vector<Frame> frames;
    while (frames.size() < count) {
      EXPECT_TRUE(sender_.Flush(ours_.get()).ok());
      auto outcome = ReceiveFrames(theirs_.get(), &decoder_, &frames);
      EXPECT_TRUE(outcome.ok()) << outcome.status();
      if (!outcome.ok() || *outcome == ReceiveOutcome::kClosed) break;
    }
    return frames;
  }
  UniqueFd ours_, theirs_;
  FrameSender sender_;
  FrameDecoder decoder_;
};

TEST_F(FrameTransfer, CarriesLargeBodiesAndDescriptorsInOrder) {
  const std::vector<UniqueFd> null = Fds(1);
  std::vector<int> fds(16, null[0].get());
  for (uint32_t i = 1; i <= 5; ++i) {
    const Frame frame{FrameType::kRequest, i, std::string(1 << 20, static_cast<char>('a' + i)), {}};
    ASSERT_TRUE(sender_.Send(ours_.get(), frame, std::span(fds).first(3 * i)).ok());
  }
  EXPECT_TRUE(sender_.pending());
  const std::vector<Frame> frames = Exchange(5);
  ASSERT_EQ(frames.size(), 5U);
  for (uint32_t i = 1; i <= 5; ++i) {
    EXPECT_EQ(frames[i - 1].stream, i);
    EXPECT_EQ(frames[i - 1].body.size(), 1U << 20);
    EXPECT_EQ(frames[i - 1].body[77], static_cast<char>('a' + i));
    ASSERT_EQ(frames[i - 1].fds.size(), 3 * i);
    EXPECT_EQ(fcntl(frames[i - 1].fds[0].get(), F_GETFD), FD_CLOEXEC);
  }
  EXPECT_FALSE(sender_.pending());
}

TEST_F(FrameTransfer, BoundsWhatAPeerLeavesUnread) {
  const Frame frame{FrameType::kEvent, 0, std::string(3 << 20, 'x'), {}};
  Status status;
  for (int i = 0; i < 4 && status.ok(); ++i) status = sender_.Send(ours_.get(), frame, {});
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
}

TEST_F(FrameTransfer, RefusesWhatIsTooLarge) {
  const Frame large{FrameType::kEvent, 0, std::string((4 << 20) + 1, 'x'), {}};
  EXPECT_TRUE(absl::IsInvalidArgument(sender_.Send(ours_.get(), large, {})));
  const std::vector<int> fds(17, ours_.get());
  EXPECT_TRUE(absl::IsInvalidArgument(sender_.Send(ours_.get(), Frame{}, fds)));
}

TEST_F(FrameTransfer, TellsThatThePeerHasGone) {
  theirs_.Reset();
  std::vector<Frame> frames;
  EXPECT_EQ(*ReceiveFrames(ours_.get(), &decoder_, &frames), ReceiveOutcome::kClosed);
}

}  // namespace
}  // namespace gantry::shim
