#include "cri/streaming/spdy.h"

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "cri/streaming/testing_spdy_client.h"

namespace gantry::cri::streaming {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const SpdyHeaders& Stdin() {
  static const SpdyHeaders headers = {{"streamtype", "stdin"}};
  return headers;
}

std::string Text(const SpdyEvent& event) {
  switch (event.kind) {
    case SpdyEvent::Kind::kStream:
      return absl::StrCat("stream ", event.stream, " ",
                          absl::StrJoin(event.headers, ",", absl::PairFormatter("=")));
    case SpdyEvent::Kind::kData:
      return absl::StrCat("data ", event.stream, " ", event.data);
    case SpdyEvent::Kind::kFin:
      return absl::StrCat("fin ", event.stream);
    case SpdyEvent::Kind::kReset:
      return absl::StrCat("reset ", event.stream, " ", event.code);
    case SpdyEvent::Kind::kGoAway:
      return "goaway";
  }
  return "unknown";
}

// Frames of the server as text: "reply 1", "data 1 abc", "fin 1", "rst 1 5", "ping 7", "goaway 5".
std::string Text(const TestFrame& frame) {
  if (!frame.control && (frame.flags & kTestFin) != 0) return absl::StrCat("fin ", frame.stream);
  if (!frame.control) return absl::StrCat("data ", frame.stream, " ", frame.payload);
  switch (frame.type) {
    case 2:
      return absl::StrCat("reply ", frame.stream);
    case 3:
      return absl::StrCat("rst ", frame.stream, " ", int{frame.payload.back()});
    case 6:
      return absl::StrCat("ping ", frame.stream);
    case 7:
      return absl::StrCat("goaway ", frame.stream);
    default:
      return absl::StrCat("type ", frame.type);
  }
}

// One behind the other. In braces, for these alone are made from left to right, as the header
// compression needs it.
std::string Join(std::initializer_list<std::string> frames) { return absl::StrJoin(frames, ""); }

// A server with its client; what happens, as text. Pieces of data of one stream are joined.
class Connection {
 public:
  std::vector<std::string> Send(absl::string_view bytes) {
    session.Receive(bytes);
    return Events();
  }

  std::vector<std::string> Events() {
    std::vector<std::string> events;
    while (true) {
      const auto event = session.Next();
      if (!event.ok()) events.push_back(std::string(event.status().message()));
      if (!event.ok() || !event->has_value()) return events;
      Append(**event, &events);
    }
  }

  std::vector<std::string> Said() {
    std::vector<std::string> said;
    const auto frames = client.Read(session.TakeOutput());
    if (!frames) return {"not frames of a server"};
    for (const TestFrame& frame : *frames) said.push_back(Text(frame));
    return said;
  }

  // A stream that is open, with nothing to be read of it.
  void Open(uint32_t id) {
    EXPECT_THAT(Send(client.SynStream(id, Stdin())), SizeIs(1));
    session.Reply(id);
    EXPECT_THAT(Said(), ElementsAre(absl::StrCat("reply ", id)));
  }

  SpdySession session;
  TestSpdyClient client;

 private:
  static void Append(const SpdyEvent& event, std::vector<std::string>* events) {
    const std::string same = absl::StrCat("data ", event.stream, " ");
    const bool joins = event.kind == SpdyEvent::Kind::kData && !events->empty() &&
                       events->back().compare(0, same.size(), same) == 0;
    if (joins) {
      absl::StrAppend(&events->back(), event.data);
    } else {
      events->push_back(Text(event));
    }
  }
};

// Everything that a good client does, in one string.
std::string Conversation(TestSpdyClient* client) {
  return Join({TestControl(4, TestNumber(1) + TestNumber(4) + TestNumber(100)),
               client->SynStream(1, {{"streamtype", "error"}}),
               client->SynStream(3, {{"streamtype", "stdin"}, {"x", "y"}}, kTestFin),
               TestData(1, "hello "), TestControl(6, TestNumber(1)), TestData(1, "world", kTestFin),
               client->HeaderFrame(8, 1, {{"more", "headers"}}), client->HeaderFrame(2, 2, {}),
               TestControl(9, TestNumber(1) + TestNumber(65536)), client->SynStream(5, Stdin()),
               TestData(5, ""), TestControl(3, TestNumber(5) + TestNumber(5)), TestData(5, "late"),
               client->SynStream(7, Stdin()), TestData(7, std::string(300, 'x')),
               TestControl(7, TestNumber(0) + TestNumber(0))});
}

const std::vector<std::string>& ConversationEvents() {
  static const std::vector<std::string> events = {"stream 1 streamtype=error",
                                                  "stream 3 streamtype=stdin,x=y",
                                                  "fin 3",
                                                  "data 1 hello world",
                                                  "fin 1",
                                                  "stream 5 streamtype=stdin",
                                                  "reset 5 5",
                                                  "stream 7 streamtype=stdin",
                                                  absl::StrCat("data 7 ", std::string(300, 'x')),
                                                  "goaway"};
  return events;
}

TEST(SpdySession, TellsOfAWholeConversation) {
  Connection connection;
  EXPECT_EQ(connection.Send(Conversation(&connection.client)), ConversationEvents());
  EXPECT_EQ(connection.session.unread(), 0U);
  EXPECT_THAT(connection.Said(), ElementsAre("ping 1"));
}

TEST(SpdySession, GivesTheSameEventsWhereverTheBytesAreCut) {
  TestSpdyClient client;
  const std::string bytes = Conversation(&client);
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    Connection connection;
    std::vector<std::string> events = connection.Send(absl::string_view(bytes).substr(0, cut));
    connection.session.Receive(absl::string_view(bytes).substr(cut));
    std::string text = absl::StrJoin(events, "|");
    for (const std::string& event : connection.Events()) {
      // A piece that begins where the cut was: its stream is named a second time.
      const size_t data = event.compare(0, 5, "data ") == 0 ? event.find(' ', 5) + 1 : 0;
      const size_t last = text.rfind('|') == std::string::npos ? 0 : text.rfind('|') + 1;
      const bool goes_on = data > 0 && text.compare(last, data, event, 0, data) == 0;
      absl::StrAppend(&text, text.empty() || goes_on ? "" : "|", event.substr(goes_on ? data : 0));
    }
    EXPECT_EQ(text, absl::StrJoin(ConversationEvents(), "|")) << "cut at " << cut;
  }
}

TEST(SpdySession, TakesByteAfterByte) {
  Connection connection;
  std::string text;
  for (const char byte : Conversation(&connection.client)) {
    for (const std::string& event : connection.Send(absl::string_view(&byte, 1))) {
      const bool data = event.compare(0, 5, "data ") == 0;
      absl::StrAppend(&text,
                      data ? event.substr(event.find(' ', 5) + 1) : absl::StrCat(event, "|"));
    }
  }
  EXPECT_EQ(text, absl::StrCat("stream 1 streamtype=error|stream 3 streamtype=stdin,x=y|fin 3|"
                               "hello worldfin 1|stream 5 streamtype=stdin|reset 5 5|"
                               "stream 7 streamtype=stdin|",
                               std::string(300, 'x'), "goaway|"));
}

TEST(SpdySession, WritesTheBytesOfTheProtocol) {
  Connection connection;
  connection.Send(connection.client.SynStream(1, Stdin()));
  connection.Send(connection.client.SynStream(3, Stdin()));
  connection.session.Reply(1);
  connection.session.Reply(3);
  connection.session.Data(1, "hi");
  connection.session.Fin(1);
  connection.session.Reset(3, kSpdyCancel);
  connection.session.GoAway();
  EXPECT_EQ(connection.session.unsent(), 32U + 26 + 10 + 8 + 16 + 16);
  EXPECT_EQ(absl::BytesToHexString(connection.session.TakeOutput()),
            absl::StrCat("8003000200000018"
                         "0000000178f9e3c6a7c2000400fbff00000000000000ffff",
                         "8003000200000012"
                         "00000003000400fbff00000000000000ffff",
                         "00000001000000026869", "0000000101000000", "8003000300000008",
                         "0000000300000005", "8003000700000008", "0000000300000000"));
  EXPECT_EQ(connection.session.unsent(), 0U);
}

TEST(SpdySession, RepliesBeforeAnyDataAndOnce) {
  Connection connection;
  connection.Send(
      Join({connection.client.SynStream(1, Stdin()), connection.client.SynStream(3, Stdin())}));
  connection.session.Data(1, "a");
  connection.session.Reply(1);
  connection.session.Fin(3);
  EXPECT_THAT(connection.Said(), ElementsAre("reply 1", "data 1 a", "reply 3", "fin 3"));
}

TEST(SpdySession, CutsWhatIsLongerThanAFrame) {
  Connection connection;
  connection.Open(1);
  connection.session.Data(1, std::string(kSpdyMaxDataFrame + 5, 'x'));
  const auto frames = connection.client.Read(connection.session.TakeOutput());
  ASSERT_TRUE(frames);
  ASSERT_THAT(*frames, SizeIs(2));
  EXPECT_THAT((*frames)[0].payload, SizeIs(kSpdyMaxDataFrame));
  EXPECT_EQ((*frames)[1].payload, "xxxxx");
}

TEST(SpdySession, GivesTheLargestFrameOutInPieces) {
  Connection connection;
  connection.Open(1);
  const std::string frame = TestData(1, std::string(kSpdyMaxDataFrame, 'x'), kTestFin);
  size_t got = 0;
  for (size_t at = 0; at < frame.size(); at += 100000) {
    connection.session.Receive(absl::string_view(frame).substr(at, 100000));
    auto event = connection.session.Next();
    ASSERT_TRUE(event.ok() && event->has_value());
    ASSERT_EQ((*event)->kind, SpdyEvent::Kind::kData);
    got += (*event)->data.size();
    EXPECT_EQ(connection.session.unread(), 0U);
  }
  EXPECT_EQ(got, kSpdyMaxDataFrame);
  EXPECT_THAT(connection.Events(), ElementsAre("fin 1"));
}

TEST(SpdySession, KeepsWhatIsNotAskedFor) {
  Connection connection;
  connection.Open(1);
  connection.session.Receive(TestData(1, "aaaa") + TestData(1, "bbbb"));
  EXPECT_EQ(connection.session.unread(), 24U);
  ASSERT_EQ((**connection.session.Next()).data, "aaaa");
  EXPECT_EQ(connection.session.unread(), 12U);
  connection.session.Receive(TestData(1, "cccc"));
  EXPECT_THAT(connection.Events(), ElementsAre("data 1 bbbbcccc"));
}

TEST(SpdySession, ForgetsAStreamThatBothSidesHaveFinished) {
  Connection connection;
  connection.Open(1);
  connection.session.Fin(1);
  EXPECT_TRUE(connection.session.known(1));
  EXPECT_THAT(connection.Send(TestData(1, "rest", kTestFin)), ElementsAre("data 1 rest", "fin 1"));
  EXPECT_FALSE(connection.session.known(1));
  connection.Said();

  connection.Open(3);
  EXPECT_THAT(connection.Send(TestData(3, "", kTestFin)), ElementsAre("fin 3"));
  EXPECT_THAT(connection.Send(TestData(3, "after its end", kTestFin)), IsEmpty());
  EXPECT_TRUE(connection.session.known(3));
  connection.session.Fin(3);
  EXPECT_FALSE(connection.session.known(3));
}

TEST(SpdySession, SaysNothingOnAStreamThatIsGone) {
  Connection connection;
  connection.Open(1);
  EXPECT_THAT(connection.Send(TestControl(3, TestNumber(1) + TestNumber(kSpdyCancel))),
              ElementsAre("reset 1 5"));
  connection.session.Data(1, "x");
  connection.session.Fin(1);
  connection.session.Reset(1, kSpdyCancel);
  connection.session.Reply(1);
  connection.session.Data(9, "never opened");
  connection.Open(3);
  connection.session.Fin(3);
  connection.session.Data(3, "after our end");
  connection.session.Fin(3);
  EXPECT_THAT(connection.Said(), ElementsAre("fin 3"));
}

TEST(SpdySession, DropsWhatArrivesOnAStreamItHasReset) {
  Connection connection;
  connection.Open(1);
  connection.session.Receive(TestData(1, "abcdef", kTestFin).substr(0, 10));
  ASSERT_EQ((**connection.session.Next()).data, "ab");
  connection.session.Reset(1, kSpdyCancel);
  EXPECT_THAT(connection.Send("cdef" + TestData(1, "more") +
                              TestControl(3, TestNumber(1) + TestNumber(kSpdyCancel))),
              IsEmpty());
  EXPECT_EQ(connection.session.unread(), 0U);
  // A FIN that is due when the stream is reset.
  connection.session.Receive(connection.client.SynStream(3, Stdin(), kTestFin));
  ASSERT_TRUE((*connection.session.Next()).has_value());
  connection.session.Reset(3, kSpdyCancel);
  EXPECT_THAT(connection.Events(), IsEmpty());
  EXPECT_THAT(connection.Said(), ElementsAre("rst 1 5", "rst 3 5"));
}

TEST(SpdySession, SaysNothingBehindGoAway) {
  Connection connection;
  connection.Open(1);
  connection.session.GoAway();
  connection.session.Data(1, "x");
  connection.session.Fin(1);
  connection.session.Reset(1, kSpdyCancel);
  connection.session.GoAway();
  // What comes is still read, and not answered.
  EXPECT_THAT(connection.Send(TestControl(6, TestNumber(1)) + TestData(1, "late") +
                              connection.client.SynStream(2, Stdin())),
              ElementsAre("data 1 late"));
  EXPECT_THAT(connection.Said(), ElementsAre("goaway 1"));
}

TEST(SpdySession, EchoesPingsOfTheClientOnly) {
  Connection connection;
  EXPECT_THAT(connection.Send(TestControl(6, TestNumber(1)) + TestControl(6, TestNumber(2)) +
                              TestControl(6, TestNumber(7))),
              IsEmpty());
  EXPECT_THAT(connection.Said(), ElementsAre("ping 1", "ping 7"));
}

TEST(SpdySession, ResetsStreamsWhoseIdsAreEvenOrDoNotRise) {
  Connection connection;
  connection.Open(5);
  TestSpdyClient& client = connection.client;
  EXPECT_THAT(connection.Send(Join({client.SynStream(2, Stdin()), client.SynStream(0, Stdin()),
                                    client.SynStream(3, Stdin())})),
              IsEmpty());
  EXPECT_THAT(connection.Said(), ElementsAre("rst 2 1", "rst 0 1", "rst 3 1"));
  // One that is open ends for both sides.
  EXPECT_THAT(connection.Send(client.SynStream(5, Stdin())), ElementsAre("reset 5 1"));
  EXPECT_THAT(connection.Said(), ElementsAre("rst 5 1"));
  // Even ids do not count as used, and the compression has gone through all of them.
  EXPECT_THAT(connection.Send(Join({client.SynStream(100, Stdin()), client.SynStream(7, Stdin())})),
              ElementsAre("stream 7 streamtype=stdin"));
}

TEST(SpdySession, ResetsStreamsWithMalformedNames) {
  const SpdyHeaders bad[] = {
      {{"Streamtype", "stdin"}}, {{"", "x"}}, {{"a", "1"}, {"b", "2"}, {"a", "3"}}};
  Connection connection;
  uint32_t id = 1;
  for (const SpdyHeaders& headers : bad) {
    EXPECT_THAT(connection.Send(connection.client.SynStream(id, headers)), IsEmpty());
    EXPECT_THAT(connection.Said(), ElementsAre(absl::StrCat("rst ", id, " 1")));
    id += 2;
  }
}

TEST(SpdySession, RefusesAStreamOfOneDirection) {
  Connection connection;
  EXPECT_THAT(connection.Send(connection.client.SynStream(1, Stdin(), kTestUnidirectional)),
              IsEmpty());
  EXPECT_THAT(connection.Said(), ElementsAre("rst 1 3"));
}

TEST(SpdySession, RefusesStreamsOverTheLimitUntilOthersEnd) {
  Connection connection;
  uint32_t id = 1;
  for (size_t i = 0; i < kSpdyMaxOpenStreams; ++i, id += 2) connection.Open(id);
  EXPECT_THAT(connection.Send(connection.client.SynStream(id, Stdin())), IsEmpty());
  EXPECT_THAT(connection.Said(), ElementsAre(absl::StrCat("rst ", id, " 3")));
  connection.session.Reset(1, kSpdyCancel);
  EXPECT_THAT(connection.Send(connection.client.SynStream(id + 2, Stdin())), SizeIs(1));
}

TEST(SpdySession, TakesControlFramesOfTheLimitAndNoLonger) {
  Connection connection;
  const size_t entries = (kSpdyMaxControlPayload - 4) / 8;
  std::string settings =
      TestNumber(static_cast<uint32_t>(entries)) + std::string(8 * entries, '\1');
  EXPECT_THAT(connection.Send(TestControl(4, settings)), IsEmpty());
  // Its head is enough: nobody waits for the rest.
  const std::string longer = TestControl(1, std::string(kSpdyMaxControlPayload + 1, '\0'));
  EXPECT_THAT(connection.Send(longer.substr(0, 8)),
              ElementsAre("SPDY: control frame of 16385 bytes, more than 16384"));
}

struct Malformed {
  const char* what;
  std::string bytes;
  const char* reason;
};

std::vector<Malformed> MalformedFrames() {
  const auto type = [](uint16_t number, size_t size) {
    return TestControl(number, std::string(size, '\0'));
  };
  std::string version = type(6, 4);
  version[1] = 2;
  return {
      {"version 2", version, "of version 2"},
      {"type 0", type(0, 0), "of unknown type 0"},
      {"NOOP of version 2", type(5, 0), "of unknown type 5"},
      {"CREDENTIAL", type(10, 0), "of unknown type 10"},
      {"the highest type", type(0xffff, 8), "of unknown type 65535"},
      {"a short SYN_STREAM", type(1, 9), "SYN_STREAM of 9 bytes, fewer than 10"},
      {"an empty SYN_STREAM", type(1, 0), "SYN_STREAM of 0 bytes, fewer than 10"},
      {"a SYN_STREAM without a block", type(1, 10), "SYN_STREAM 0: header block: cut off"},
      {"a SYN_STREAM without zlib", type(1, 30), "SYN_STREAM 0: header block: not what zlib"},
      {"a short SYN_REPLY", type(2, 3), "SYN_REPLY of 3 bytes, fewer than 4"},
      {"a SYN_REPLY without a block", type(2, 4), "SYN_REPLY: header block: cut off"},
      {"a short HEADERS", type(8, 3), "HEADERS of 3 bytes, fewer than 4"},
      {"HEADERS without zlib", type(8, 20), "HEADERS: header block: not what zlib"},
      {"a short RST_STREAM", type(3, 7), "RST_STREAM of 7 bytes, not 8"},
      {"a long RST_STREAM", type(3, 9), "RST_STREAM of 9 bytes, not 8"},
      {"empty SETTINGS", type(4, 0), "SETTINGS of 0 bytes, fewer than 4"},
      {"SETTINGS with more entries", TestControl(4, TestNumber(2) + std::string(8, '\0')),
       "SETTINGS of 12 bytes says it has 2 entries"},
      {"SETTINGS with fewer entries", TestControl(4, TestNumber(0) + std::string(8, '\0')),
       "SETTINGS of 12 bytes says it has 0 entries"},
      {"SETTINGS that overflow", TestControl(4, TestNumber(0x20000000)),
       "says it has 536870912 entries"},
      {"a short PING", type(6, 3), "PING of 3 bytes, not 4"},
      {"a long PING", type(6, 5), "PING of 5 bytes, not 4"},
      {"a GOAWAY of SPDY/2", type(7, 4), "GOAWAY of 4 bytes, not 8"},
      {"a short WINDOW_UPDATE", type(9, 4), "WINDOW_UPDATE of 4 bytes, not 8"},
  };
}

TEST(SpdySession, GivesUpAtMalformedFramesAndStaysSo) {
  for (const Malformed& row : MalformedFrames()) {
    Connection connection;
    connection.Open(1);
    // The compression has begun with stream 1, so a block of zeros goes on with it.
    const std::vector<std::string> events =
        connection.Send(TestData(1, "good") + row.bytes + TestData(1, "unread"));
    ASSERT_THAT(events, SizeIs(2)) << row.what;
    EXPECT_EQ(events[0], "data 1 good") << row.what;
    EXPECT_THAT(events[1], HasSubstr(row.reason)) << row.what;
    const auto again = connection.session.Next();
    EXPECT_EQ(again.status().code(), absl::StatusCode::kInvalidArgument) << row.what;
    EXPECT_EQ(again.status().message(), events[1]) << row.what;
  }
}

TEST(SpdySession, GivesUpAtAHeaderBlockOverItsLimits) {
  const std::string bomb(kMaxInflatedHeaderBlock + 1, 'x');
  SpdyHeaders many;
  for (size_t i = 0; i <= kMaxHeaders; ++i) many.emplace_back(absl::StrCat("x", i), "");
  const std::pair<std::string, const char*> rows[] = {{bomb, "over 65536 bytes when inflated"},
                                                      {TestBlock(many), "more than 32 headers"}};
  for (const auto& [block, reason] : rows) {
    Connection connection;
    const std::vector<std::string> events =
        connection.Send(connection.client.SynStreamOfBlock(1, block));
    ASSERT_THAT(events, SizeIs(1));
    EXPECT_THAT(events[0], HasSubstr(reason));
  }
}

}  // namespace
}  // namespace gantry::cri::streaming
