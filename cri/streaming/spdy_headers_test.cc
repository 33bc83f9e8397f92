#include "cri/streaming/spdy_headers.h"

#include <openssl/sha.h>

#include <array>
#include <cstdint>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "cri/streaming/spdy_dictionary.h"
#include "cri/streaming/testing_spdy_client.h"

namespace gantry::cri::streaming {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

SpdyHeaders Numbered(size_t count) {
  SpdyHeaders headers;
  for (size_t i = 0; i < count; ++i) headers.emplace_back(absl::StrCat("name-", i), "value");
  return headers;
}

// The answer to a block that is made of `plain`, by a reader and a compressor of their own.
StatusOr<SpdyHeaders> ReadPlain(absl::string_view plain) {
  TestSpdyClient client;
  return SpdyHeaderReader().Read(client.Compress(plain));
}

void ExpectRefused(const StatusOr<SpdyHeaders>& answer, absl::string_view words) {
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kInvalidArgument) << words;
  EXPECT_THAT(std::string(answer.status().message()), HasSubstr(std::string(words)));
}

TEST(SpdyDictionary, IsTheConstantOfTheProtocol) {
  EXPECT_THAT(SpdyDictionary(), SizeIs(1423));
  const std::string bytes(SpdyDictionary());
  std::array<uint8_t, SHA256_DIGEST_LENGTH> sum{};
  SHA256(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), sum.data());
  EXPECT_EQ(absl::BytesToHexString(std::string(sum.begin(), sum.end())),
            "51d27341373f923f3cd88e1eb7162aeaa3723d7585ff2399201dc06498407f02");
}

TEST(SpdyHeaderReader, ReadsTheFirstBlockOfZlibsLevelNine) {
  SpdyHeaderReader reader;
  const std::string golden = absl::HexStringToBytes("78f9e3c6a7c202a6230600000000ffff");
  const auto headers = reader.Read(golden);
  ASSERT_TRUE(headers.ok()) << headers.status();
  EXPECT_THAT(*headers, IsEmpty());
  EXPECT_EQ(TestSpdyClient().Compress(TestBlock({})), golden);
}

TEST(SpdyHeaderReader, ReadsBlocksThatReferToEarlierOnes) {
  for (const int level : {0, 1, 6, 9}) {
    for (const bool dictionary : {true, false}) {
      TestSpdyClient client(level, dictionary);
      SpdyHeaderReader reader;
      for (int i = 0; i < 50; ++i) {
        const SpdyHeaders sent = {{"streamtype", "data"}, {"port", absl::StrCat(8000 + i)}};
        const auto headers = reader.Read(client.Compress(TestBlock(sent)));
        ASSERT_TRUE(headers.ok()) << level << ": " << headers.status();
        EXPECT_EQ(*headers, sent);
      }
    }
  }
}

TEST(SpdyHeaderReader, SplitsSeveralValuesAtTheirZeros) {
  const auto headers = ReadPlain(TestBlock({{"x", std::string("a\0b\0", 4)}, {"y", ""}}));
  ASSERT_TRUE(headers.ok()) << headers.status();
  EXPECT_THAT(*headers, ElementsAre(Pair("x", "a"), Pair("x", "b"), Pair("x", ""), Pair("y", "")));
}

TEST(SpdyHeaderReader, TakesThirtyTwoHeadersAndNoMore) {
  EXPECT_THAT(*ReadPlain(TestBlock(Numbered(kMaxHeaders))), SizeIs(kMaxHeaders));
  ExpectRefused(ReadPlain(TestBlock(Numbered(kMaxHeaders + 1))), "more than 32 headers");
  ExpectRefused(ReadPlain(TestBlock({{"x", std::string(kMaxHeaders, '\0')}})),
                "more than 32 headers");
  ExpectRefused(ReadPlain("\xff\xff\xff\xff"), "more than 32 headers");
}

TEST(SpdyHeaderReader, TakesABlockOfTheInflatedLimitAndNoMore) {
  const size_t rest = kMaxInflatedHeaderBlock - TestBlock({{"x", ""}}).size();
  const auto headers = ReadPlain(TestBlock({{"x", std::string(rest, 'v')}}));
  ASSERT_TRUE(headers.ok()) << headers.status();
  EXPECT_THAT((*headers)[0].second, SizeIs(rest));
  ExpectRefused(ReadPlain(TestBlock({{"x", std::string(rest + 1, 'v')}})), "over 65536 bytes");
  ExpectRefused(ReadPlain(std::string(size_t{16} << 20, 'v')), "over 65536 bytes");
}

TEST(SpdyHeaderReader, RefusesWhatIsNotMadeOfPairs) {
  const std::string pair = TestBlock({{"name", "value"}});
  for (size_t size = 0; size < pair.size(); ++size) {
    EXPECT_EQ(ReadPlain(pair.substr(0, size)).status().code(), absl::StatusCode::kInvalidArgument)
        << size;
  }
  ExpectRefused(ReadPlain(pair + "z"), "1 bytes behind the last pair");
  ExpectRefused(ReadPlain(TestNumber(1) + TestNumber(0xffffffff) + "x"), "of 4294967295 bytes");
}

TEST(SpdyHeaderReader, RefusesWhatIsNotItsZlibStream) {
  ExpectRefused(SpdyHeaderReader().Read("no zlib stream"), "not what zlib can go on with");
  ExpectRefused(SpdyHeaderReader().Read(""), "cut off in a number");
  // Another dictionary's Adler-32.
  ExpectRefused(SpdyHeaderReader().Read(absl::HexStringToBytes("78f9e3c6a7c302a6230600000000ffff")),
                "not what zlib can go on with");
  // The stream ends, so nothing could follow: a fixed block with the end's bit set.
  ExpectRefused(SpdyHeaderReader().Read(absl::HexStringToBytes("789c63606060000000040001")),
                "not what zlib can go on with");
  // The middle of a stream whose beginning was not read.
  TestSpdyClient client;
  client.Compress(TestBlock({{"streamtype", "error"}}));
  ExpectRefused(SpdyHeaderReader().Read(client.Compress(TestBlock({{"streamtype", "error"}}))),
                "not what zlib can go on with");
}

TEST(EmptyHeaderBlocks, AreReadOneBehindTheOther) {
  SpdyHeaderReader reader;
  EXPECT_EQ(absl::BytesToHexString(FirstEmptyHeaderBlock()),
            "78f9e3c6a7c2000400fbff00000000000000ffff");
  EXPECT_THAT(*reader.Read(FirstEmptyHeaderBlock()), IsEmpty());
  for (int i = 0; i < 3; ++i) EXPECT_THAT(*reader.Read(NextEmptyHeaderBlock()), IsEmpty());
}

}  // namespace
}  // namespace gantry::cri::streaming
