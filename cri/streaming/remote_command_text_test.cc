// What an Exec or Attach session reads and writes as text: status, sizes, channel messages.
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

#include "cri/streaming/channel_messages.h"
#include "cri/streaming/command_status.h"
#include "cri/streaming/terminal_size.h"

namespace gantry::cri::streaming {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

TEST(CommandStatus, SuccessIsAlwaysToldFromVersionFourOn) {
  EXPECT_EQ(CommandStatus(4, 0), R"({"metadata":{},"status":"Success"})");
  EXPECT_EQ(CommandStatus(5, 0), CommandStatus(4, 0));
  EXPECT_EQ(CommandStatus(3, 0), "");
}

TEST(CommandStatus, AnExitCodeIsACauseOfItsReason) {
  const json status = json::parse(CommandStatus(4, 137));
  EXPECT_EQ(status["status"], "Failure");
  EXPECT_EQ(status["reason"], "NonZeroExitCode");
  ASSERT_EQ(status["details"]["causes"].size(), 1U);
  EXPECT_EQ(status["details"]["causes"][0]["reason"], "ExitCode");
  EXPECT_EQ(status["details"]["causes"][0]["message"], "137");
  EXPECT_THAT(CommandStatus(1, 3), HasSubstr("exit status 3"));
}

TEST(CommandStatus, AnErrorHasItsText) {
  const Status error = absl::NotFoundError("no \"sh\" \xff here");
  const json status = json::parse(CommandStatus(5, error));
  EXPECT_EQ(status["status"], "Failure");
  EXPECT_EQ(status["reason"], "InternalError");
  EXPECT_EQ(status["code"], 500);
  EXPECT_THAT(status["message"].get<std::string>(), HasSubstr("no \"sh\""));
  EXPECT_EQ(CommandStatus(2, error), error.message());
}

std::string Newest(TerminalSizeReader* reader, absl::string_view data) {
  const auto size = reader->Receive(data);
  return size ? absl::StrCat(size->width, "x", size->height) : "none";
}

TEST(TerminalSize, ObjectsMayBeCutAnywhere) {
  const std::string text = "{\"Width\":80,\"Height\":24}\n{\"Width\":132,\"Height\":43}\n";
  TerminalSizeReader whole;
  EXPECT_EQ(Newest(&whole, text), "132x43");
  TerminalSizeReader bytes;
  std::vector<std::string> sizes;
  for (const char c : text)
    if (const std::string size = Newest(&bytes, std::string(1, c)); size != "none")
      sizes.push_back(size);
  EXPECT_THAT(sizes, ::testing::ElementsAre("80x24", "132x43"));
}

TEST(TerminalSize, WhatIsNoSizeIsSkipped) {
  TerminalSizeReader reader;
  EXPECT_EQ(Newest(&reader, "{\"Width\":0,\"Height\":24}"), "none");
  EXPECT_EQ(Newest(&reader, "{\"Width\":80}"), "none");
  EXPECT_EQ(Newest(&reader, "{\"Width\":70000,\"Height\":1}"), "none");
  EXPECT_EQ(Newest(&reader, "{\"Width\":-1,\"Height\":1}"), "none");
  EXPECT_EQ(Newest(&reader, "{\"Width\":\"80\",\"Height\":1}"), "none");
  EXPECT_EQ(Newest(&reader, "noise } [] {}"), "none");
  EXPECT_EQ(Newest(&reader, std::string(1025, '{')), "none") << "too long";
  EXPECT_EQ(Newest(&reader, "{\"Width\":80,\"Height\":24}"), "80x24") << "the next one counts";
}

// All that the reader gives for a message that comes in pieces of `size`.
std::string ReadInPieces(ChannelMessageReader* reader, const std::string& message, size_t size) {
  std::string all;
  for (size_t at = 0; at < message.size(); at += size) {
    const bool ends = at + size >= message.size();
    const auto part = reader->Receive(message.substr(at, size), at == 0, ends);
    if (part) absl::StrAppend(&all, part->channel, ":", part->data, " ");
  }
  return all;
}

TEST(ChannelMessages, BeginWithTheirChannel) {
  EXPECT_EQ(EncodeChannelMessage(1, "out", false), std::string("\x01out"));
  EXPECT_EQ(EncodeChannelMessage(3, "", false), std::string("\x03"));
  ChannelMessageReader reader(false);
  EXPECT_EQ(ReadInPieces(&reader, std::string("\0in", 3), 3), "0:in ");
  EXPECT_EQ(ReadInPieces(&reader, std::string("\0in", 3), 1), "0:i 0:n ");
  EXPECT_EQ(ReadInPieces(&reader, std::string("\xff\0", 2), 2), std::string("255:\0 ", 6));
}

TEST(ChannelMessages, Base64IsDecodedAcrossPieces) {
  EXPECT_EQ(EncodeChannelMessage(2, "error", true), "2ZXJyb3I=");
  for (const size_t size : {1U, 2U, 3U, 5U, 100U}) {
    ChannelMessageReader reader(true);
    std::string data;
    const std::string message = EncodeChannelMessage(0, "twelve bytes, and more", true);
    for (size_t at = 0; at < message.size(); at += size) {
      const auto part = reader.Receive(absl::string_view(message).substr(at, size), at == 0,
                                       at + size >= message.size());
      if (part) data += part->data;
    }
    EXPECT_EQ(data, "twelve bytes, and more") << size;
  }
  ChannelMessageReader reader(true);
  EXPECT_EQ(ReadInPieces(&reader, "0!!!!", 100), "");
  EXPECT_EQ(ReadInPieces(&reader, "0aGk=", 100), "0:hi ") << "the next message is read again";
}

TEST(ChannelMessages, WhatFollowsBadTextIsNotRead) {
  ChannelMessageReader reader(true);
  for (const size_t size : {1U, 4U, 5U, 100U}) {
    EXPECT_EQ(ReadInPieces(&reader, "xaGk=aGk=", size), "") << "no channel";
    EXPECT_EQ(ReadInPieces(&reader, "0!!!!aGk=aGk=", size), "");
    EXPECT_EQ(ReadInPieces(&reader, "0 aGk= aGk=", size), "") << "blanks are no base64 either";
  }
}

}  // namespace
}  // namespace gantry::cri::streaming
