// Downloads by several connections, and over mirrors, from servers on loopback that are slow, lie
// or stay silent.
#include "imageservice/blob_download.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "imageservice/connection_plan.h"
#include "imageservice/testing_faults.h"

namespace gantry::images {
namespace {

using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string Text(const Status& status) { return std::string(status.message()); }

std::string Noise(size_t size) {
  std::string text(size, '\0');
  uint64_t state = 7;
  for (size_t i = 0; i + 8 <= size; i += 8) {
    state = state * 6364136223846793005 + 1442695040888963407;
    memcpy(&text[i], &state, 8);
  }
  return text;
}

RegistryEndpoint EndpointAt(const std::string& host) {
  RegistryEndpoint endpoint;
  endpoint.base = *ParseUrl(absl::StrCat("http://", host, "/v2"));
  return endpoint;
}

class Downloading : public ::testing::Test {
 protected:
  explicit Downloading(size_t size = 40 << 20) : blob_(Noise(size)), digest_(*DigestOf(blob_)) {
    registry_.memory().AddBlob(digest_, blob_);
    mirror_.memory().AddBlob(digest_, blob_);
  }
  // A client that asks these hosts, in this order.
  std::unique_ptr<RegistryClient> ClientOf(const std::vector<std::string>& hosts) const {
    std::vector<RegistryEndpoint> endpoints;
    for (const std::string& host : hosts) endpoints.push_back(EndpointAt(host));
    endpoints.back().upstream = true;
    const Reference reference = *ParseReference(absl::StrCat(hosts.back(), "/a/b:1"));
    HttpTimeouts timeouts;
    timeouts.stall = stall_;
    return std::make_unique<RegistryClient>(
        std::move(endpoints), reference,
        *RegistryAuth::Make({}, reference.registry, reference.repository), timeouts);
  }
  Status Download(const RegistryClient& client) {
    HttpClient http;
    Descriptor descriptor;
    descriptor.digest = digest_;
    descriptor.size = blob_.size();
    got_.clear();
    return DownloadBlob(client, http, descriptor,
                        [this](std::span<const char> bytes) {
                          got_.append(bytes.data(), bytes.size());
                          return absl::OkStatus();
                        },
                        {.budget = &budget_});
  }
  Status Download() { return Download(*ClientOf({registry_.host()})); }

  const std::string blob_, digest_;
  std::chrono::milliseconds stall_{60'000};
  FaultRegistry registry_, mirror_;
  FetchBudget budget_;
  std::string got_;
};

TEST_F(Downloading, ASlowNetworkGetsMoreConnections) {
  registry_.Break("/blobs/", Throttle(4 << 20));
  const Status status = Download();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(got_ == blob_);
  const auto ranges = registry_.RangesOf(digest_);
  EXPECT_EQ(ranges[0], "") << "a range from the first byte breaks small registries";
  EXPECT_GT(ranges.size(), 3u);
  EXPECT_THAT(ranges, Not(Contains(StartsWith("bytes=0-"))));
  EXPECT_GE(registry_.server().most_at_once(), 3);
  EXPECT_LE(registry_.server().most_at_once(), kMaxConnectionsPerBlob + 1);
}

TEST_F(Downloading, AFastNetworkKeepsOneConnection) {
  const Status status = Download();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(got_ == blob_);
  EXPECT_EQ(registry_.server().requests().size(), 1u);
}

TEST_F(Downloading, ANetworkThatSeveralDoNotSpeedUpIsLeftToOneAgain) {
  registry_.Break("/blobs/", ThrottleAll(6 << 20));
  const Status status = Download();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(got_ == blob_);
  EXPECT_GE(registry_.server().most_at_once(), 2) << "it was tried";
  EXPECT_LT(registry_.server().requests().size(), 10u) << "not in ranges to its end";
}

class BigDownloading : public Downloading {
 protected:
  BigDownloading() : Downloading(320 << 20) {}
};

// So fast that the first connection has reached what the other one began with.
TEST_F(BigDownloading, OneConnectionTakesTheRestFromTwoThatWereNoFaster) {
  registry_.Break("/blobs/", ThrottleAll(60 << 20));
  const Status status = Download();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(got_ == blob_);
  const auto ranges = registry_.RangesOf(digest_);
  EXPECT_GE(registry_.server().most_at_once(), 2) << "it was tried";
  EXPECT_THAT(ranges.back(), EndsWith("-")) << "all the rest, in one answer";
}

TEST_F(Downloading, ASlowReaderKeepsOneConnection) {
  registry_.Break("/blobs/", Throttle(20 << 20));
  HttpClient http;
  Descriptor descriptor;
  descriptor.digest = digest_;
  descriptor.size = blob_.size();
  const auto client = ClientOf({registry_.host()});
  const Status status = DownloadBlob(
      *client, http, descriptor,
      [](std::span<const char> bytes) {
        std::this_thread::sleep_for(std::chrono::microseconds(bytes.size() / 10));  // 10 MB/s
        return absl::OkStatus();
      },
      {.budget = &budget_});
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(registry_.server().requests().size(), 1u);
}

TEST_F(Downloading, AServerThatIgnoresRangeGoesOnInOneStream) {
  registry_.Break("/blobs/", IgnoreRange(registry_.memory()));
  registry_.Break("/blobs/", Throttle(10 << 20));
  const Status status = Download();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(got_ == blob_);
  const auto ranges = registry_.RangesOf(digest_);
  EXPECT_EQ(std::count(ranges.begin(), ranges.end(), ""), 1) << "the stream was not begun again";
}

TEST_F(Downloading, AWrongContentRangeIsNotBelieved) {
  registry_.BreakRanges("/blobs/", WrongContentRange());
  registry_.Break("/blobs/", Throttle(10 << 20));
  const Status status = Download();
  ASSERT_TRUE(status.ok()) << "the first stream is enough: " << status;
  EXPECT_TRUE(got_ == blob_);
  // A stream that must be resumed is not, by such a server.
  registry_.Break("/blobs/", CutAfter(1'000'000), 1);
  const Status cut = Download();
  EXPECT_EQ(cut.code(), absl::StatusCode::kDataLoss) << cut;
  EXPECT_THAT(Text(cut), HasSubstr("another range"));
}

TEST_F(Downloading, RangesThatBreakAreAskedForAgainFromTheirLastByte) {
  registry_.Break("/blobs/", Throttle(4 << 20));
  registry_.BreakRanges("/blobs/", CutAfter(700'000), 3);
  registry_.BreakRanges("/blobs/", CutAfter(300'000, /*reset=*/true), 2);
  const Status status = Download();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(got_ == blob_);
  EXPECT_LT(registry_.server().body_bytes(), blob_.size() + (8 << 20)) << "nothing comes twice";
}

TEST_F(Downloading, AStragglerIsResumedOnAnotherConnection) {
  registry_.Break("/blobs/", Throttle(4 << 20));
  // One range comes at a hundredth of the others' rate, and never stalls.
  registry_.BreakRanges("/blobs/", [asked = 0](const TestRequest&, TestResponse& response) mutable {
    if (++asked == 4) response.bytes_per_second = 40 << 10;
  });
  const Status status = Download();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(got_ == blob_);
  // Its piece was asked for twice: from its first byte, and from where it was taken over.
  std::map<std::string, int> ends;
  for (const std::string& range : registry_.RangesOf(digest_)) {
    if (!range.empty()) ++ends[range.substr(range.find('-'))];
  }
  EXPECT_TRUE(
      std::any_of(ends.begin(), ends.end(), [](const auto& end) { return end.second > 1; }));
}

TEST_F(Downloading, OneWaitForAllConnectionsThatWereRefused) {
  registry_.Break("/blobs/", Throttle(4 << 20));
  // Once ranges have begun, four requests in a row are too many.
  registry_.BreakRanges("/blobs/",
                        [served = 0](const TestRequest& request, TestResponse& response) mutable {
                          if (++served < 3 || served > 6) return;
                          AnswerWith(429, {{"Retry-After", "1"}})(request, response);
                        });
  const Status status = Download();
  ASSERT_TRUE(status.ok()) << "four refusals would be the end of four tries: " << status;
  EXPECT_TRUE(got_ == blob_);
}

class SmallDownloading : public Downloading {
 protected:
  SmallDownloading() : Downloading(3'000'000) {}
};

TEST_F(SmallDownloading, AMirrorThatIsDeadCostsNothingAtTheNextBlob) {
  const std::string dead = absl::StrCat("127.0.0.1:", FreePort());
  const auto client = ClientOf({dead, registry_.host()});
  ASSERT_TRUE(Download(*client).ok());
  ASSERT_EQ(client->health().News().size(), 1u);
  EXPECT_EQ(client->health().News()[0].origin, "http://" + dead);
  registry_.Break("/blobs/", AnswerWith(404));
  const Status status = Download(*client);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Text(status), HasSubstr(absl::StrCat("http://", dead, " is left out for now: ")));
  // On a busy machine two seconds may pass before it is asked at all.
  EXPECT_THAT(Text(status), AnyOf(HasSubstr("Failed to connect"), HasSubstr("it was silent")));
}

TEST_F(SmallDownloading, AMirrorThatIsSilentLetsTheNextOneStart) {
  mirror_.Break("", StaySilent());
  const auto client = ClientOf({mirror_.host(), registry_.host()});
  const Status status = Download(*client);
  ASSERT_TRUE(status.ok()) << "the stall timeout is far away: " << status;
  EXPECT_TRUE(got_ == blob_);
  EXPECT_EQ(mirror_.server().requests().size(), 1u);
  ASSERT_TRUE(Download(*client).ok());
  EXPECT_EQ(mirror_.server().requests().size(), 1u) << "it is left out now";
}

TEST_F(SmallDownloading, AMirrorThatIsSlowToAnswerButFirstWins) {
  registry_.Break("", StaySilent());
  mirror_.Break("", [](const TestRequest&, TestResponse&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2500));
  });
  const auto client = ClientOf({mirror_.host(), registry_.host()});
  const Status status = Download(*client);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(registry_.server().requests().size(), 1u) << "it was asked meanwhile";
}

TEST_F(SmallDownloading, AMirrorWithAWrongSizeIsPassedOver) {
  mirror_.Break("/blobs/", ChangeLength(-5));
  const auto client = ClientOf({mirror_.host(), registry_.host()});
  const Status status = Download(*client);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(got_ == blob_);
}

TEST_F(SmallDownloading, AMirrorWithWrongContentIsNamedAndLeftOutTheNextTime) {
  mirror_.Break("/blobs/", OtherBytes());
  const auto client = ClientOf({mirror_.host(), registry_.host()});
  const Status status = Download(*client);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(Text(status), HasSubstr(mirror_.host()));
  EXPECT_THAT(Text(status), HasSubstr(digest_));
  ASSERT_TRUE(Download(*client).ok());
  EXPECT_TRUE(got_ == blob_);
}

TEST_F(SmallDownloading, AMirrorThatBreaksInTheMiddleIsContinuedElsewhere) {
  mirror_.Break("/blobs/", CutAfter(400'000));
  const auto client = ClientOf({mirror_.host(), registry_.host()});
  const Status status = Download(*client);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(got_ == blob_);
  EXPECT_EQ(registry_.RangesOf(digest_).size(), 1u);
  EXPECT_EQ(registry_.RangesOf(digest_)[0], "bytes=1600000-") << "after four tries";
}

TEST_F(SmallDownloading, OneByteASecondIsAStall) {
  stall_ = std::chrono::milliseconds(500);
  registry_.Break("/blobs/", Throttle(100));  // a byte every ten milliseconds
  const Status status = Download();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(Text(status), HasSubstr("bytes came in 1 s"));
}

TEST_F(SmallDownloading, ARetryAfterMayBeADate) {
  registry_.Break(
      "/blobs/",
      [](const TestRequest& request, TestResponse& response) {
        const time_t soon = time(nullptr) + 1;
        struct tm parts;
        char text[64];
        strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&soon, &parts));
        AnswerWith(429, {{"Retry-After", text}})(request, response);
      },
      1);
  const Status status = Download();
  ASSERT_TRUE(status.ok()) << status;
  registry_.Break("/blobs/", AnswerWith(429, {{"Retry-After", "Fri, 31 Dec 2100 23:59:59 GMT"}}));
  EXPECT_THAT(Text(Download()), HasSubstr("retry after Fri, 31 Dec 2100"));
}

}  // namespace
}  // namespace gantry::images
