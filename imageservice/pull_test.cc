// Pulls through the real processes, from a server that also makes mistakes.
#include "imageservice/pull.h"

#include <signal.h>
#include <sys/mount.h>

#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"

#include "imageservice/digester.h"
#include "imageservice/testing_pull.h"

namespace gantry::images {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string Text(const Status& status) { return std::string(status.message()); }

class Pulling : public PullTest {
 protected:
  // Answers from `memory_`, unless the test has something else to say.
  Pulling()
      : server_([this](const TestRequest& request) {
          const Mistake mistake = CurrentMistake();
          if (mistake) {
            if (std::optional<TestResponse> response = mistake(request)) return *response;
          }
          return memory_.Answer(request);
        }) {}
  std::string Name(const std::string& rest) const {
    return absl::StrCat(server_.host(), "/", rest);
  }
  int BlobCount(const TestImage::Blob& blob) const {
    return server_.Count(absl::StrCat("/v2/a/b/blobs/", blob.digest));
  }
  // Every blob that is no configuration stays silent after its first bytes.
  void StallLayers(const TestImage& image) {
    SetMistake([this, config = image.Config().digest](
                   const TestRequest& request) -> std::optional<TestResponse> {
      if (!absl::StrContains(request.path, "/blobs/") || absl::EndsWith(request.path, config))
        return std::nullopt;
      TestResponse response = memory_.Answer(request);
      response.stall_after = 10;
      return response;
    });
  }

  using Mistake = std::function<std::optional<TestResponse>(const TestRequest&)>;
  void SetMistake(Mistake mistake) {
    const std::lock_guard lock(mutex_);
    mistake_ = std::move(mistake);
  }
  Mistake CurrentMistake() {
    const std::lock_guard lock(mutex_);
    return mistake_;
  }

  MemoryRegistry memory_;
  std::mutex mutex_;
  Mistake mistake_;
  TestServer server_;
};

TestImage ThreeLayers() {
  TestImage image;
  image.AddLayer(TarWithFile("big", 9'000'000), TestCompression::kGzip)
      .AddLayer(TarArchive().File("etc/name", "zstd").Finish(), TestCompression::kZstd)
      .AddLayer(TarArchive().File("plain", "plain").Finish(), TestCompression::kNone);
  return image;
}

TEST_F(Pulling, AnImageIsPulledByTagAndByDigest) {
  const TestImage image = ThreeLayers();
  memory_.Add("a/b", "1", image);
  const auto pulled = Pull(Name("a/b:1"));
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ((*pulled)->id, image.Config().digest);
  EXPECT_THAT((*pulled)->repo_tags, ElementsAre(Name("a/b:1")));
  EXPECT_THAT((*pulled)->repo_digests, ElementsAre(Name("a/b@") + image.Manifest().digest));
  EXPECT_THAT((*pulled)->config.cmd, ElementsAre("/bin/true"));
  EXPECT_EQ((*pulled)->diff_ids, image.diff_ids());
  EXPECT_GT((*pulled)->size, 9'000'000u);
  EXPECT_EQ(FileIn(**pulled, 0, "big").size(), 9'000'000u);
  EXPECT_EQ(FileIn(**pulled, 1, "etc/name"), "zstd");
  EXPECT_EQ(FileIn(**pulled, 2, "plain"), "plain");

  const auto again = Pull(Name("a/b@") + image.Manifest().digest);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->id, (*pulled)->id);
  for (const TestImage::Blob& layer : image.layers())
    EXPECT_EQ(BlobCount(layer), 1) << "what is here is not fetched";
  EXPECT_EQ(BlobCount(image.Config()), 1) << "nor is its configuration";
  ASSERT_TRUE(store_->Find(Name("a/b:1")).ok());
}

TEST_F(Pulling, ATagBesideADigestIsNotMoved) {
  const TestImage today = ThreeLayers();
  TestImage other;
  other.AddLayer(TarArchive().File("f", "other").Finish());
  memory_.Add("a/b", "1", today);
  memory_.Add("a/b", "2", other);
  ASSERT_TRUE(Pull(Name("a/b:1")).ok());
  for (const char* tag : {"1", "7"}) {
    const std::string name = absl::StrCat(Name("a/b:"), tag, "@", other.Manifest().digest);
    const auto pulled = Pull(name);
    ASSERT_TRUE(pulled.ok()) << pulled.status();
    EXPECT_EQ((*pulled)->id, other.Config().digest);
    EXPECT_TRUE((*pulled)->repo_tags.empty());
    EXPECT_EQ((*store_->Find(name))->id, other.Config().digest);
  }
  EXPECT_EQ((*store_->Find(Name("a/b:1")))->id, today.Config().digest) << "as the registry says";
  EXPECT_EQ(*store_->Find(Name("a/b:7")), nullptr) << "nobody has asked what it is";
}

// Bigger than what a socket takes of it at once.
TEST_F(Pulling, AnImageWithABigConfigurationIsPulledTwice) {
  const TestImage image = ThreeLayers();
  memory_.Add("a/b", "small", image);
  const TestImage::Blob small = image.Config();
  const std::string big = small.bytes + std::string(1'000'000, ' '), digest = *DigestOf(big);
  TestImage::Blob manifest = image.Manifest();
  manifest.bytes = absl::StrReplaceAll(
      manifest.bytes,
      {{small.digest, digest},
       {absl::StrCat("\"size\":", small.bytes.size()), absl::StrCat("\"size\":", big.size())}});
  manifest.digest = *DigestOf(manifest.bytes);
  memory_.AddBlob(digest, big);
  memory_.AddManifest("a/b", "1", manifest);
  for (int i = 0; i < 2; ++i) {
    const auto pulled = Pull(Name("a/b:1"));
    ASSERT_TRUE(pulled.ok()) << i << ": " << pulled.status();
    EXPECT_EQ((*pulled)->id, digest);
  }
}

TEST_F(Pulling, TheIndexEntryForThisMachineIsTaken) {
  TestImage mine, other;
  mine.AddLayer(TarArchive().File("f", "mine").Finish());
  other.AddLayer(TarArchive().File("f", "other").Finish());
  memory_.Add("a/b", "mine", mine);
  const TestImage::Blob index = TestIndex(
      {{"s390x", other.Manifest()}, {"amd64", mine.Manifest()}, {"arm64", mine.Manifest()}});
  memory_.AddManifest("a/b", "1", index);
  const auto pulled = Pull(Name("a/b:1"));
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(FileIn(**pulled, 0, "f"), "mine");
  EXPECT_THAT((*pulled)->repo_digests, ElementsAre(Name("a/b@") + index.digest))
      << "the index is what was pulled";
}

TEST_F(Pulling, CallersOfTheSameImageJoinOnePull) {
  const TestImage image = ThreeLayers();
  memory_.Add("a/b", "1", image);
  std::vector<std::thread> callers;
  std::atomic<int> good{0};
  for (int i = 0; i < 8; ++i)
    callers.emplace_back([&] { good += Pull(Name("a/b:1")).ok() ? 1 : 0; });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(good, 8);
  for (const TestImage::Blob& layer : image.layers()) EXPECT_EQ(BlobCount(layer), 1);
}

TEST_F(Pulling, ImagesThatShareALayerFetchItOnce) {
  const std::string shared = TarWithFile("shared", 5'000'000);
  std::vector<TestImage> images(4);
  for (size_t i = 0; i < images.size(); ++i) {
    images[i].AddLayer(shared).AddLayer(TarArchive().File("own", absl::StrCat(i)).Finish());
    memory_.Add("a/b", absl::StrCat(i), images[i]);
  }
  std::vector<std::thread> callers;
  std::atomic<int> good{0};
  for (size_t i = 0; i < images.size(); ++i) {
    callers.emplace_back([&, i] {
      const auto pulled = Pull(Name(absl::StrCat("a/b:", i)));
      good += pulled.ok() && FileIn(**pulled, 1, "own") == absl::StrCat(i) ? 1 : 0;
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(good, 4);
  EXPECT_EQ(BlobCount(images[0].layers()[0]), 1);
}

TEST_F(Pulling, ALayerThatOccursTwiceIsFetchedOnce) {
  TestImage image;
  const std::string tar = TarArchive().File("f", "x").Finish();
  image.AddLayer(tar).AddLayer(TarArchive().File("g", "y").Finish()).AddLayer(tar);
  memory_.Add("a/b", "1", image);
  const auto pulled = Pull(Name("a/b:1"));
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ((*pulled)->layers.size(), 3u);
  EXPECT_EQ(BlobCount(image.layers()[0]), 1);
}

TEST_F(Pulling, MoreLayersThanRunAtOnce) {
  TestImage image;
  for (int i = 0; i < 12; ++i)
    image.AddLayer(TarArchive().File(absl::StrCat("f", i), absl::StrCat(i)).Finish());
  memory_.Add("a/b", "1", image);
  const auto pulled = Pull(Name("a/b:1"));
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(FileIn(**pulled, 11, "f11"), "11");
}

TEST_F(Pulling, ProgressTellsAllLayersAndTheEnd) {
  const TestImage image = ThreeLayers();
  memory_.Add("a/b", "1", image);
  PullProgress last;
  PullRequest request;
  request.reference = Name("a/b:1");
  request.progress = [&](const PullProgress& progress) { last = progress; };
  ASSERT_TRUE(puller_->Pull(request).ok());
  EXPECT_EQ(last.stage, "done");
  ASSERT_EQ(last.layers.size(), 3u);
  for (const LayerProgress& layer : last.layers) {
    EXPECT_TRUE(layer.complete);
    EXPECT_EQ(layer.done, layer.total);
  }
}

// Images that are wrong in one way each, by tag; returns what their layers are called.
std::map<std::string, std::string> AddBadImages(MemoryRegistry& registry) {
  std::map<std::string, std::string> layers;
  const auto add = [&](const std::string& tag, const TestImage& image) {
    registry.Add("a/b", tag, image);
    layers[tag] = image.layers()[0].digest;
  };
  TestImage liar, spoiled, longer, torn, text, missing;
  liar.AddLayer(TarArchive().File("f", "x").Finish(), TestCompression::kGzip,
                "sha256:" + std::string(64, 'b'));
  add("liar", liar);
  spoiled.AddLayer(TarWithFile("f", 700'000, 3));
  add("spoiled", spoiled);
  registry.SpoilBlob(layers["spoiled"], std::string(spoiled.layers()[0].bytes.size(), 'x'));
  longer.AddLayer(TarWithFile("f", 500'000, 4));
  add("longer", longer);
  registry.SpoilBlob(layers["longer"], longer.layers()[0].bytes + "x");
  const std::string tar = TarWithFile("f", 500'000, 5);
  add("torn", torn.AddLayer(tar.substr(0, tar.size() / 2)));
  add("text", text.AddLayer(std::string(5000, 'x'), TestCompression::kNone));
  missing.AddLayer(TarWithFile("f", 1000, 6));
  layers["missing"] = missing.layers()[0].digest;
  registry.AddManifest("a/b", "missing", missing.Manifest());
  registry.AddBlob(missing.Config().digest, missing.Config().bytes);
  registry.AddManifest("a/b", "alien", TestIndex({{"s390x", liar.Manifest()}}));
  return layers;
}

TEST_F(Pulling, BadImagesAreRefusedAndNothingIsLeft) {
  std::map<std::string, std::string> layers = AddBadImages(memory_);
  SetMistake([](const TestRequest& request) -> std::optional<TestResponse> {
    if (absl::EndsWith(request.path, "/secret")) return TestResponse{.status = 401};
    if (absl::EndsWith(request.path, "/broken")) return TestResponse{.status = 500};
    if (absl::EndsWith(request.path, "/both"))
      return TestResponse{.body = R"({"layers":[],"manifests":[]})"};
    return std::nullopt;
  });
  const struct {
    std::string tag;
    absl::StatusCode code;
    std::string text;
  } rows[] = {
      {"liar", absl::StatusCode::kDataLoss, "diffID"},
      {"spoiled", absl::StatusCode::kDataLoss, layers["spoiled"]},
      {"longer", absl::StatusCode::kDataLoss, "descriptor"},
      {"torn", absl::StatusCode::kDataLoss, layers["torn"]},
      {"text", absl::StatusCode::kInvalidArgument, layers["text"]},
      {"missing", absl::StatusCode::kNotFound, layers["missing"]},
      {"both", absl::StatusCode::kInvalidArgument, "manifest and an index at once"},
      {"alien", absl::StatusCode::kNotFound, "linux/s390x"},
      {"none", absl::StatusCode::kNotFound, "MANIFEST_UNKNOWN"},
      {"secret", absl::StatusCode::kUnauthenticated, "how to log in"},
      {"broken", absl::StatusCode::kUnavailable, "HTTP 500"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.tag);
    const Status status = Pull(Name("a/b:" + row.tag)).status();
    EXPECT_EQ(status.code(), row.code) << status;
    EXPECT_THAT(Text(status), HasSubstr(row.text));
    EXPECT_THAT(Text(status), HasSubstr(Name("a/b:" + row.tag)));
    if (row.code == absl::StatusCode::kUnavailable) {
      EXPECT_THAT(Text(status), StartsWith("RegistryUnavailable: "));
    }
    EXPECT_TRUE(ChildPids().empty());
  }
  EXPECT_TRUE(store_->List().empty());
  EXPECT_EQ(Pull("No/Reference!").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(Pulling, NobodyListeningIsRegistryUnavailable) {
  const Status status = Pull(absl::StrCat("127.0.0.1:", FreePort(), "/a:1")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Text(status), StartsWith("RegistryUnavailable: pull image"));
}

TEST_F(Pulling, AStalledServerIsGivenUp) {
  const TestImage image = ThreeLayers();
  memory_.Add("a/b", "1", image);
  StallLayers(image);
  options_.stall_timeout = std::chrono::milliseconds(200);
  puller_ = std::make_unique<Puller>(store_.get(), options_);
  const Status status = Pull(Name("a/b:1")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(Text(status), HasSubstr("no byte came"));
}

TEST_F(Pulling, ACancelledPullEndsAtOnceAndLeavesNothing) {
  const TestImage image = ThreeLayers();
  memory_.Add("a/b", "1", image);
  StallLayers(image);
  PullRequest request;
  request.reference = Name("a/b:1");
  request.cancelled = [] { return ChildPids().size() == 4; };
  EXPECT_EQ(puller_->Pull(request).status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(Eventually([] { return ChildPids().empty(); }));
  store_->FlushDeletions();
  EXPECT_TRUE(Eventually([&] { return std::filesystem::is_empty(directory_ / "staging"); }));
}

TEST_F(Pulling, AWaiterWhoLeavesDoesNotEndThePullOfTheOthers) {
  const TestImage image = ThreeLayers();
  memory_.Add("a/b", "1", image);
  std::atomic<bool> release{false};
  SetMistake([&](const TestRequest& request) -> std::optional<TestResponse> {
    if (absl::EndsWith(request.path, "/manifests/1")) Eventually([&] { return release.load(); });
    return std::nullopt;
  });
  std::thread stays([&] { EXPECT_TRUE(Pull(Name("a/b:1")).ok()); });
  ASSERT_TRUE(Eventually([] { return !ChildPids().empty(); }));
  PullRequest request;
  request.reference = Name("a/b:1");
  request.cancelled = [] { return true; };
  EXPECT_EQ(puller_->Pull(request).status().code(), absl::StatusCode::kCancelled);
  release = true;
  stays.join();
  EXPECT_EQ(server_.Count("/v2/a/b/manifests/1"), 1);
}

TEST_F(Pulling, TheEndOfThePullerEndsItsPulls) {
  const TestImage image = ThreeLayers();
  memory_.Add("a/b", "1", image);
  StallLayers(image);
  std::thread caller([puller = puller_.get(), name = Name("a/b:1")] {
    PullRequest request;
    request.reference = name;
    EXPECT_EQ(puller->Pull(request).status().code(), absl::StatusCode::kCancelled);
  });
  ASSERT_TRUE(Eventually([] { return ChildPids().size() == 4; }));
  puller_.reset();
  caller.join();
  EXPECT_TRUE(ChildPids().empty());
}

TEST_F(Pulling, AKilledChildIsAnErrorAndTheNextPullWorks) {
  const TestImage image = ThreeLayers();
  memory_.Add("a/b", "1", image);
  for (const size_t victim : {size_t{0}, size_t{1}}) {
    StallLayers(image);
    std::thread killer([&] {
      ASSERT_TRUE(Eventually([] { return ChildPids().size() == 4; }));
      std::vector<int> pids = ChildPids();
      std::sort(pids.begin(), pids.end());
      kill(pids[victim], SIGKILL);
    });
    const Status status = Pull(Name("a/b:1")).status();
    killer.join();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
    EXPECT_THAT(Text(status), HasSubstr("died: signal 9"));
    EXPECT_TRUE(ChildPids().empty());
  }
  SetMistake(nullptr);
  const Status status = Pull(Name("a/b:1")).status();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(Pulling, ThePullerIsNobodyAndSecretsStayInside) {
  const TestImage image = ThreeLayers();
  memory_.Add("a/b", "1", image);
  StallLayers(image);
  std::string status, command, environment;
  PullRequest request;
  request.reference = Name("a/b:1");
  request.credentials.username = "user";
  request.credentials.password = "hunter2";
  request.cancelled = [&] {
    if (ChildPids().size() != 4) return false;
    std::vector<int> pids = ChildPids();
    std::sort(pids.begin(), pids.end());
    const std::filesystem::path process = absl::StrCat("/proc/", pids[0]);
    status = ReadText(process / "status");
    command = ReadText(process / "cmdline");
    environment = ReadText(process / "environ");
    return true;
  };
  EXPECT_EQ(puller_->Pull(request).status().code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(status, HasSubstr("Uid:\t65534\t65534\t65534\t65534"));
  EXPECT_THAT(status, HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_EQ(command, std::string("gantry-puller") + '\0');
  EXPECT_THAT(environment, Not(HasSubstr("hunter2")));
}

TEST_F(Pulling, HostsTomlLeadsToTheMirror) {
  const TestImage image = ThreeLayers();
  memory_.Add("a/b", "1", image);
  std::filesystem::create_directories(directory_ / "certs.d" / "reg.example");
  std::ofstream(directory_ / "certs.d" / "reg.example" / "hosts.toml")
      << "server = \"http://" << server_.host() << "\"\n[host.\"http://127.0.0.1:" << FreePort()
      << "\"]\n";
  const auto pulled = Pull("reg.example/a/b:1");
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_THAT((*pulled)->repo_tags, ElementsAre("reg.example/a/b:1"));
  EXPECT_EQ(server_.requests()[0].query, "ns=reg.example");
  std::ofstream(directory_ / "certs.d" / "reg.example" / "hosts.toml") << "server = 7\n";
  EXPECT_EQ(Pull("reg.example/a/b:1").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(Pulling, AFullDiskIsResourceExhausted) {
  puller_.reset();
  store_.reset();
  const std::string path = directory_.string();
  ASSERT_EQ(mount("tmpfs", path.c_str(), "tmpfs", 0, "size=6m"), 0);
  OpenStore();
  // What cannot fit is not begun; what turns out not to fit is ended.
  const TestImage big = ThreeLayers();
  memory_.Add("a/b", "1", big);
  Status status = Pull(Name("a/b:1")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(Text(status), HasSubstr("bytes are to come"));
  EXPECT_EQ(BlobCount(big.layers()[0]), 0);
  TestImage swells;
  const std::string half(4'500'000, 'x');
  swells.AddLayer(TarArchive().File("f", half).File("g", half).Finish());
  memory_.Add("a/b", "2", swells);
  status = Pull(Name("a/b:2")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(Text(status), HasSubstr("No space left"));
  puller_.reset();
  store_->FlushDeletions();
  EXPECT_TRUE(std::filesystem::is_empty(directory_ / "staging"));
  store_.reset();
  ASSERT_EQ(umount2(path.c_str(), MNT_DETACH), 0);
}

}  // namespace
}  // namespace gantry::images
