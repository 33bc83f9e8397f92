// Pulls through the real processes from a registry that makes mistakes: the rows 59 to 64 of what
// must not go wrong, and who shares what with whom.
#include <signal.h>

#include <thread>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"

#include "imageservice/blob_ring.h"
#include "imageservice/testing_faults.h"
#include "imageservice/testing_pull.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Text(const Status& status) { return std::string(status.message()); }

class PullFaults : public PullTest {
 protected:
  PullFaults() {
    image_.AddLayer(TarWithFile("big", 3'000'000), TestCompression::kNone)
        .AddLayer(TarArchive().File("etc/name", "second").Finish());
    registry_.memory().Add("a/b", "1", image_);
  }
  std::string Name(const std::string& rest = "a/b:1") const {
    return absl::StrCat(registry_.host(), "/", rest);
  }
  const std::string& Layer() const { return image_.layers()[0].digest; }
  int Requests(const std::string& digest) const {
    return static_cast<int>(registry_.RangesOf(digest).size());
  }
  void SetStallTimeout(int milliseconds) {
    options_.stall_timeout = std::chrono::milliseconds(milliseconds);
    puller_ = std::make_unique<Puller>(store_.get(), options_);
  }
  // A child that lives and does nothing.
  void UseHangingChild(std::string PullerOptions::*binary) {
    const std::filesystem::path script = directory_ / "hangs";
    std::ofstream(script) << "#!/bin/sh\nexec sleep 1000\n";
    std::filesystem::permissions(script, std::filesystem::perms::owner_all);
    options_.*binary = script.string();
    options_.child_timeout = std::chrono::milliseconds(300);
    puller_ = std::make_unique<Puller>(store_.get(), options_);
  }
  // A pull with such a child fails in the words `why`.
  void ExpectHangEnds(std::string PullerOptions::*binary, const std::string& name,
                      const std::string& why) {
    UseHangingChild(binary);
    const Status status = Pull(name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
    EXPECT_THAT(Text(status), HasSubstr(why));
    ExpectNothingCommitted();
  }
  void ExpectNothingCommitted() {
    EXPECT_TRUE(store_->List().empty());
    EXPECT_FALSE(store_->HasLayer(Layer()));
    store_->FlushDeletions();
    EXPECT_TRUE(std::filesystem::is_empty(directory_ / "staging"));
  }
  // reg.example is this registry, with `mirror` before it.
  void WriteMirror(const std::string& mirror) {
    std::filesystem::create_directories(directory_ / "certs.d" / "reg.example");
    std::ofstream(directory_ / "certs.d" / "reg.example" / "hosts.toml")
        << "server = \"http://" << registry_.host() << "\"\n[host.\"http://" << mirror << "\"]\n";
  }
  // Basic authentication, of whoever has the password "right".
  void AskForLogin() {
    registry_.Break("", [](const TestRequest& request, TestResponse& response) {
      const auto header = request.headers.find("authorization");
      std::string login;
      if (header != request.headers.end())
        absl::Base64Unescape(header->second.substr(header->second.find(' ') + 1), &login);
      if (!absl::EndsWith(login, ":right"))
        AnswerWith(401, {{"WWW-Authenticate", "Basic realm=\"r\""}})(request, response);
    });
  }
  PullRequest RequestAs(const std::string& user, const std::string& password = "right") const {
    PullRequest request;
    request.reference = Name();
    request.credentials.username = user;
    request.credentials.password = password;
    return request;
  }
  bool AskedForManifestAs(const std::string& user) const {
    const std::string login = "Basic " + absl::Base64Escape(user + ":right");
    for (const TestRequest& request : registry_.server().requests()) {
      const auto header = request.headers.find("authorization");
      if (absl::EndsWith(request.path, "/manifests/1") && header != request.headers.end() &&
          header->second == login)
        return true;
    }
    return false;
  }

  TestImage image_;
  FaultRegistry registry_, mirror_;
};

TEST_F(PullFaults, Row59WrongDigestSizeOrTruncationNamesTheDigestAndCommitsNothing) {
  const struct {
    std::string description;
    FaultRegistry::Fault fault;
    absl::StatusCode code;
  } rows[] = {
      {"wrong digest", OtherBytes(), absl::StatusCode::kDataLoss},
      {"shorter", ChangeLength(-512), absl::StatusCode::kDataLoss},
      {"longer", ChangeLength(512), absl::StatusCode::kDataLoss},
      {"cut, whenever it is asked for", CutAfter(1000), absl::StatusCode::kUnavailable},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.description);
    registry_.Break(Layer(), row.fault);
    const Status status = Pull(Name()).status();
    EXPECT_EQ(status.code(), row.code) << status;
    EXPECT_THAT(Text(status), HasSubstr(Layer()));
    ExpectNothingCommitted();
    registry_.Repair();
  }
  const auto pulled = Pull(Name());
  ASSERT_TRUE(pulled.ok()) << "the next pull is fine: " << pulled.status();
  EXPECT_EQ(FileIn(**pulled, 1, "etc/name"), "second");
}

TEST_F(PullFaults, Row60TemporaryAnswersAreTriedAgainAndBlobsResumed) {
  const std::vector<std::pair<std::string, FaultRegistry::Fault>> faults = {
      {"408", AnswerWith(408)}, {"429 in seconds", AnswerWith(429, {{"Retry-After", "1"}})},
      {"500", AnswerWith(500)}, {"503", AnswerWith(503, {{"Retry-After", "0"}})},
      {"504", AnswerWith(504)}, {"reset before the first byte", CutAfter(0, /*reset=*/true)},
  };
  for (const auto& [description, fault] : faults) {
    SCOPED_TRACE(description);
    registry_.Break("/manifests/", fault, 1);
    registry_.Break(Layer(), fault, 1);
    registry_.Break(Layer(), CutAfter(1'000'000, /*reset=*/true), 2);
    const auto pulled = Pull(Name());
    EXPECT_TRUE(pulled.ok()) << pulled.status();
    const auto ranges = registry_.RangesOf(Layer());
    EXPECT_THAT(ranges.back(), StartsWith("bytes=")) << "a broken blob goes on where it broke";
    EXPECT_TRUE(store_->Remove(Name()).ok());
    store_->FlushDeletions();
    registry_.Repair();
  }
}

TEST_F(PullFaults, Row60TriesAreBounded) {
  registry_.Break(Layer(), AnswerWith(503));
  const Status status = Pull(Name()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Text(status), StartsWith("RegistryUnavailable: "));
  EXPECT_EQ(Requests(Layer()), 4);
}

TEST_F(PullFaults, Row61AStallEndsOnePullAndNotThoseThatWaitForItsBlob) {
  SetStallTimeout(300);
  TestImage other;
  other.AddLayer(TarWithFile("big", 3'000'000), TestCompression::kNone)
      .AddLayer(TarArchive().File("own", "other").Finish());
  ASSERT_EQ(other.layers()[0].digest, Layer());
  registry_.memory().Add("a/b", "2", other);
  registry_.Break(Layer(), StallAfter(1000), 4);  // as many tries as one pull has
  Status first;
  std::thread stalls([&] { first = Pull(Name()).status(); });
  ASSERT_TRUE(Eventually([&] { return Requests(Layer()) > 0; }));
  const auto pulled = Pull(Name("a/b:2"));
  stalls.join();
  EXPECT_EQ(first.code(), absl::StatusCode::kUnavailable) << first;
  EXPECT_THAT(Text(first), HasSubstr("no byte came for 0.3 s"));
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(FileIn(**pulled, 1, "own"), "other");
  EXPECT_EQ(Requests(Layer()), 5);
}

TEST_F(PullFaults, Row62AnUnpackerSlowerThanTheTimeoutIsNoStall) {
  SetStallTimeout(2000);  // the test's server may be slow as well
  TestImage big;
  big.AddLayer(TarWithFile("big", 40'000'000, 9), TestCompression::kNone);
  registry_.memory().Add("a/b", "big", big);
  std::thread slow([] {
    ASSERT_TRUE(Eventually([] { return ChildPids().size() == 2; }));
    const std::vector<int> pids = ChildPids();
    const int unpacker = std::max(pids[0], pids[1]);
    ASSERT_EQ(kill(unpacker, SIGSTOP), 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(5000));
    ASSERT_EQ(kill(unpacker, SIGCONT), 0);
  });
  const auto pulled = Pull(Name("a/b:big"));
  slow.join();
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(FileIn(**pulled, 0, "big").size(), 40'000'000u);
}

// What hangs costs its own pull: the layer is free for the next.
TEST_F(PullFaults, AnUnpackerThatReadsNothingEndsItsPull) {
  TestImage big;  // more than its ring holds
  big.AddLayer(TarWithFile("big", 2 * kBlobRingSize), TestCompression::kNone);
  registry_.memory().Add("a/b", "big", big);
  ExpectHangEnds(&PullerOptions::unpacker_binary, Name("a/b:big"),
                 "gantry-unpacker stopped reading");
  puller_.reset();
  OpenStore();
  EXPECT_TRUE(Pull(Name("a/b:big")).ok());
}

TEST_F(PullFaults, AnUnpackerThatNeverAnswersEndsItsPull) {
  ExpectHangEnds(&PullerOptions::unpacker_binary, Name(),
                 "gantry-unpacker does not say how it ended");
}

TEST_F(PullFaults, APullerThatNeverAnswersEndsItsPull) {
  ExpectHangEnds(&PullerOptions::puller_binary, Name(), "gantry-puller has said nothing for ");
}

TEST_F(PullFaults, APullerThatStopsInALayerKeepsItFromNobodyForEver) {
  options_.child_timeout = std::chrono::milliseconds(300);
  puller_ = std::make_unique<Puller>(store_.get(), options_);
  TestImage other;
  other.AddLayer(TarWithFile("big", 3'000'000), TestCompression::kNone)
      .AddLayer(TarArchive().File("own", "other").Finish());
  registry_.memory().Add("a/b", "2", other);
  registry_.Break(Layer(), StallAfter(1000), 1);
  Status first;
  std::thread stops([&] { first = Pull(Name()).status(); });
  ASSERT_TRUE(Eventually([&] { return Requests(Layer()) > 0; }));
  for (const int pid : ChildPids()) {
    if (ReadText(absl::StrCat("/proc/", pid, "/comm")) == "gantry-puller\n") {
      EXPECT_EQ(kill(pid, SIGSTOP), 0);
    }
  }
  const auto pulled = Pull(Name("a/b:2"));
  stops.join();
  EXPECT_THAT(Text(first), HasSubstr("gantry-puller has said nothing for ")) << first;
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(FileIn(**pulled, 1, "own"), "other");
}

TEST_F(PullFaults, ASlowRegistryHoldsUpNoOtherRegistrysPull) {
  options_.child_timeout = std::chrono::milliseconds(500);
  puller_ = std::make_unique<Puller>(store_.get(), options_);
  mirror_.memory().Add("a/b", "1", image_);
  mirror_.Break(Layer(), Throttle(20'000));
  std::atomic<bool> enough = false;
  PullRequest slow;
  slow.reference = mirror_.host() + "/a/b:1";
  slow.cancelled = [&] { return enough.load(); };
  Status first;
  std::thread waits([&] { first = puller_->Pull(slow).status(); });
  EXPECT_TRUE(Eventually([&] { return !mirror_.RangesOf(Layer()).empty(); }));
  const auto pulled = Pull(Name());
  enough = true;
  waits.join();
  EXPECT_EQ(first.code(), absl::StatusCode::kCancelled) << first;
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(FileIn(**pulled, 1, "etc/name"), "second");
}

TEST_F(PullFaults, Row63FiftyPullsOfOneImageAreOneDownload) {
  std::atomic<int> good{0};
  std::vector<std::thread> callers;
  registry_.Break(Layer(), Throttle(3'000'000));
  for (int i = 0; i < 50; ++i) callers.emplace_back([&] { good += Pull(Name()).ok() ? 1 : 0; });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(good, 50);
  for (const auto& [digest, bytes] : image_.Blobs()) EXPECT_EQ(Requests(digest), 1);
  EXPECT_EQ(registry_.server().Count("/v2/a/b/manifests/1"), 1);
}

TEST_F(PullFaults, Row64ATokenThatExpiresInMidPullIsRenewed) {
  std::atomic<int> issued{0};
  TestServer tokens([&](const TestRequest&) {
    return TestResponse{.body = absl::StrCat(R"({"token":"t)", ++issued, R"("})")};
  });
  // Each token is good for two answers: manifest and configuration have the first one's.
  std::map<std::string, int> uses;
  registry_.Break("", [&](const TestRequest& request, TestResponse& response) {
    const auto header = request.headers.find("authorization");
    if (header != request.headers.end() && ++uses[header->second] <= 2) return;
    const std::string challenge =
        absl::StrCat("Bearer realm=\"http://", tokens.host(), "/token\",service=\"s\"");
    AnswerWith(401, {{"WWW-Authenticate", challenge}})(request, response);
  });
  const auto pulled = Pull(Name());
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_GE(issued, 2);
  EXPECT_LE(issued, 4);
}

TEST_F(PullFaults, Row64ARedirectLoopIsBoundedAndWrongCredentialsAreRefusedOnce) {
  registry_.Break(Layer(), AnswerWith(307, {{"Location", "/v2/a/b/blobs/" + Layer()}}));
  EXPECT_THAT(Text(Pull(Name()).status()), HasSubstr("more than 5 redirects"));
  EXPECT_LE(Requests(Layer()), 4 * 6);
  registry_.Repair();
  AskForLogin();
  const size_t before = registry_.server().requests().size();
  EXPECT_EQ(puller_->Pull(RequestAs("user", "wrong")).status().code(),
            absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(registry_.server().requests().size() - before, 2u);
}

TEST_F(PullFaults, CallersWithOtherCredentialsShareTheLayersEachWithItsOwnManifestRequest) {
  AskForLogin();
  registry_.Break(Layer(), Throttle(1'500'000));
  std::thread first([&] { EXPECT_TRUE(puller_->Pull(RequestAs("alice")).ok()); });
  ASSERT_TRUE(Eventually([&] { return Requests(Layer()) > 0; }));
  EXPECT_EQ(puller_->Pull(RequestAs("eve", "wrong")).status().code(),
            absl::StatusCode::kUnauthenticated)
      << "what is on its way for somebody else is not for everybody";
  EXPECT_TRUE(puller_->Pull(RequestAs("bob")).ok());
  first.join();
  EXPECT_TRUE(AskedForManifestAs("alice"));
  EXPECT_TRUE(AskedForManifestAs("bob"));
  // Once refused, once for alice; never for bob.
  int layers = 0;
  for (const TestRequest& request : registry_.server().requests())
    layers += absl::EndsWith(request.path, Layer()) && request.headers.contains("authorization");
  EXPECT_EQ(layers, 1);
}

TEST_F(PullFaults, ACancelOfTheFirstDoesNotHurtTheSecondWithOtherCredentials) {
  AskForLogin();
  registry_.Break(Layer(), Throttle(1'000'000));
  std::thread first([&] {
    PullRequest request = RequestAs("alice");
    request.cancelled = [&] {
      return AskedForManifestAs("bob") && Requests(image_.layers()[1].digest) > 0;
    };
    EXPECT_EQ(puller_->Pull(request).status().code(), absl::StatusCode::kCancelled);
  });
  ASSERT_TRUE(Eventually([&] { return Requests(Layer()) > 0; }));
  const auto pulled = puller_->Pull(RequestAs("bob"));
  first.join();
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(FileIn(**pulled, 0, "big").size(), 3'000'000u);
}

TEST_F(PullFaults, AMirrorWithWrongContentCostsATryNotThePull) {
  mirror_.memory().Add("a/b", "1", image_);
  mirror_.Break(Layer(), OtherBytes());
  WriteMirror(mirror_.host());
  const auto pulled = Pull("reg.example/a/b:1");
  ASSERT_TRUE(pulled.ok()) << pulled.status() << "; asked the mirror "
                           << mirror_.RangesOf(Layer()).size() << " times, the registry "
                           << Requests(Layer());
  EXPECT_EQ(FileIn(**pulled, 0, "big").size(), 3'000'000u);
  EXPECT_EQ(Requests(Layer()), 1) << "the registry itself gave it";
}

TEST_F(PullFaults, AMirrorThatFailsIsLeftOutByTheNextPullToo) {
  mirror_.Break("", AnswerWith(503));
  WriteMirror(mirror_.host());
  ASSERT_TRUE(Pull("reg.example/a/b:1").ok());
  const size_t asked = mirror_.server().requests().size();
  EXPECT_GT(asked, 0u);
  TestImage other;
  other.AddLayer(TarArchive().File("own", "other").Finish());
  registry_.memory().Add("a/b", "2", other);
  ASSERT_TRUE(Pull("reg.example/a/b:2").ok());
  EXPECT_EQ(mirror_.server().requests().size(), asked);
  const Status status = Pull("reg.example/a/b:3").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Text(status), HasSubstr(absl::StrCat(mirror_.host(), " is left out for now: ")));
  EXPECT_THAT(Text(status), HasSubstr("HTTP 503"));
}

TEST_F(PullFaults, ThePullerStaysSmallWithRanges) {
  if (absl::StrContains(ReadText("/proc/cpuinfo"), "User Mode Linux"))
    GTEST_SKIP() << "user-mode Linux maps page by page, and has too few maps for the blobs";
  TestImage big;
  for (uint32_t i = 0; i < 4; ++i)
    big.AddLayer(TarWithFile("f", 34'000'000, 20 + i), TestCompression::kNone);
  registry_.memory().Add("a/b", "big", big);
  registry_.Break("/blobs/", Throttle(3 << 20));
  uint64_t peak_kb = 0;
  PullRequest request;
  request.reference = Name("a/b:big");
  request.progress = [&](const PullProgress&) {
    for (const int pid : ChildPids()) {
      const std::filesystem::path process = absl::StrCat("/proc/", pid);
      if (!absl::StartsWith(ReadText(process / "cmdline"), "gantry-puller")) continue;
      const std::string status = ReadText(process / "status");
      const size_t line = status.find("VmHWM:");
      if (line != std::string::npos)
        peak_kb = std::max<uint64_t>(peak_kb, strtoull(&status[line + 6], nullptr, 10));
    }
  };
  const auto pulled = puller_->Pull(request);
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_GT(registry_.server().most_at_once(), 6) << "ranges were used";
  EXPECT_GT(peak_kb, 20'000u);
  EXPECT_LT(peak_kb, 96'000u);
  RecordProperty("peak_kb", static_cast<int>(peak_kb));
}

}  // namespace
}  // namespace gantry::images
